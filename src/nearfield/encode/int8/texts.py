"""Texts that a model's int8 form is calibrated with: the same on every machine, written for this purpose."""

from __future__ import annotations

SENTENCES = """
The committee approved the budget for the new bridge on Tuesday evening, after a debate of three hours.
How do I sort a list of dictionaries by the value of one key?
Patients who received the vaccine had half as many infections as those in the control group (p < 0.01).
Preheat the oven to 180 degrees, butter the tin, and fold the egg whites into the batter.
We prove that every bounded sequence of real numbers has a convergent subsequence.
The goalkeeper saved two penalties, and the match ended 3-2 after extra time.
My order arrived late, the box was torn, and customer service never answered. One star.
Shares of the chip maker fell 4.6% in early trading as investors weighed its forecast for the third quarter.
In 1789 the Estates-General met at Versailles for the first time in one hundred and seventy-five years.
Photosynthesis turns carbon dioxide and water into glucose and oxygen, with light as its source of energy.
The tenant shall keep the premises in good repair, and shall not sublet them without written consent.
Best places to eat ramen near the central station?
She closed the door quietly, put the letter into her coat, and walked down to the harbour in the rain.
The function raises a ValueError if the array is empty or its shape doesn't match.
A transformer encoder maps each token to a vector; pooling makes one vector for the whole text.
Is it safe to take ibuprofen together with blood pressure medicine?
The orchestra played Brahms's second symphony with a warmth that the hall had not heard for years.
Flight 482 to Madrid is delayed by forty minutes because of fog; please go to gate B17.
Rust's borrow checker refuses two mutable references to the same value at the same time.
Monthly rainfall in the valley rose from 40 mm in May to 135 mm in August.
The defendant argued that the contract was void, since it had been signed under duress.
Gene expression was measured in liver tissue of mice fed a diet high in fat for twelve weeks.
Turn left at the roundabout, go past the school, and park behind the library.
My laptop won't turn on after the update. The light blinks three times and then it goes dark.
An electron in a magnetic field moves in a circle whose radius is proportional to its momentum.
The startup raised twelve million dollars to build batteries from sodium instead of lithium.
Please reset my password; the link in your e-mail has expired.
Bees find their way by the sun, by landmarks, and by the polarisation of light.
Interest rates, inflation and unemployment are the numbers that central banks watch most closely.
I loved this film: the plot is thin, but the pictures are gorgeous and the children act like children.
Unit tests should be quick, independent of each other, and fail for one reason only.
The river divides the old town from the new one; five bridges connect them.
What is the difference between supervised and unsupervised learning?
Deep inside the mountain, the miners found a lake as clear as glass.
The minister of agriculture resigned over the scandal of contaminated milk.
To install the package, create a virtual environment and run pip install in it.
Doctors recommend thirty minutes of exercise a day and less salt.
Voters in the northern provinces rejected the referendum by a narrow margin.
The cat slept on the warm stones while the children painted the fence blue.
The proof follows by induction on the number of vertices of the graph.
Our return policy allows exchanges within 30 days with the original receipt.
Astronomers have found a planet of about the mass of Neptune that circles its star in nine days.
Use a recursive query to walk the tree of categories in the database.
Water boils at a lower temperature in the mountains, so pasta needs more time.
He served two terms as governor before he was elected to the senate.
The museum is closed on Mondays and on public holidays.
Singapore, Rotterdam and Shanghai are among the busiest ports in the world.
Large language models are trained to predict the next word of a text.
The knee was swollen and tender; an X-ray showed no fracture.
A haiku has three lines of five, seven and five syllables.
""".strip().splitlines()

ODD = [
    "",
    "a",
    ".",
    "=" * 60,
    "- " * 50,
    "!!! ??? ... ;;; ***",
    "the the the the the the the the",
    "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16",
    "0x7fff 1e-5 3.14159 100,000 $5.00 50% 2024-05-17T09:30:00Z",
    "https://example.org/index.html?q=nearest+neighbours&page=2#top",
    "def f(x):\n    return [y ** 2 for y in x if y is not None]",
    "SELECT name, count(*) FROM users WHERE age >= 18 GROUP BY name;",
    "[1] (a) {b} <c> | d | \\e/ ~f~ `g` @h #i",
    "A-B-C_D_E f.g.h i/j/k",
    "ÄÖÜ ß é è ñ ç å ø œ",
    "Привет, мир! Как дела сегодня?",
    "你好，世界。今天天气很好。",
    "مرحبا بالعالم",
    "नमस्ते दुनिया",
    "안녕하세요 세계",
    "😀 🚀 🎉",
    "Der schnelle braune Fuchs springt über den faulen Hund.",
    "Le conseil municipal a voté le budget de la nouvelle bibliothèque.",
    "THIS IS ALL IN CAPITALS AND IT IS VERY LOUD",
]


def texts() -> list[str]:
    """Return texts of one sentence, of several, of many, and odd ones."""
    short = SENTENCES[::2]
    several = [" ".join(SENTENCES[start : start + 4]) for start in range(0, len(SENTENCES), 3)]
    many = [" ".join(SENTENCES[start : start + 12]) for start in range(0, len(SENTENCES), 10)]
    return [*short, *several, *many, *ODD]
