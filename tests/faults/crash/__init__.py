"""Makes crashes, and judges what they leave."""
