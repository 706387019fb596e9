"""SPaRK itself, pure: actions, episodes, selection, judging, answers, and the tables."""
