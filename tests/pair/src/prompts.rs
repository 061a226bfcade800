//! A dozen prompts of our own, short and long replies mixed.

/// Task label and user message.
pub const PROMPTS: [(&str, &str); 12] = [
    ("qa", "What is the capital of Norway?"),
    ("qa", "Is a whale a fish? Answer yes or no, with one reason."),
    ("math", "A baker sells 14 loaves in the morning and twice as many in the afternoon. How many loaves is that?"),
    (
        "summarise",
        "Summarise in one sentence: The ferry was late because of fog, so the band missed its first song, \
     and the crowd sang it instead.",
    ),
    ("translate", "Translate into French: The lighthouse keeper reads every evening."),
    ("classify", "Is this review positive or negative? \"The soup was cold, but the waiter made us laugh.\""),
    ("extract", "List the colours named here: a red door, two green chairs and a pale blue curtain."),
    ("code", "Write a Python function that counts the vowels in a string."),
    ("writing", "Write a short story about a clock that runs backwards."),
    ("writing", "Write a letter from a lighthouse to the sea."),
    ("instruction", "Explain step by step how to plant a tree in a small garden."),
    ("chat", "I have a free afternoon and it is raining. What could I do?"),
];
