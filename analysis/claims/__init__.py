"""Claims: the register, the verdict rules, the judging, and the answer in words."""
