"""The int8 form of a model: products with weights in eight-bit integers, the rest as before."""
