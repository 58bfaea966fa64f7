"""Colors of pages and figures, by role."""

LIGHT = {
    "ink": "#1a2330",
    "soft": "#5b6675",
    "grid": "#dfe3e9",
    "paper": "#fefefe",
    "accent": "#1f5fbf",
    "warn": "#b3401f",
    "s1": "#1e5ebe",
    "s2": "#c2570c",
    "s3": "#0b7d6c",
    "s4": "#7a3fb1",
    "s5": "#b3234e",
    "c1": "#465264",
    "c2": "#8a6a2f",
    "c3": "#4f7d55",
    "c4": "#84608f",
    "c5": "#2f7a8c",
    "c6": "#8c5a4f",
}
"""Colors that figures are drawn in; unique, because style sheets find a role by its color."""

DARK = {
    "ink": "#e4e9f0",
    "soft": "#9aa6b5",
    "grid": "#2b3440",
    "paper": "#0d1319",
    "accent": "#7db0ff",
    "warn": "#ff9a75",
    "s1": "#7db0ff",
    "s2": "#ffa362",
    "s3": "#4fcdb4",
    "s4": "#c6a2ff",
    "s5": "#ff86a5",
    "c1": "#b9c4d4",
    "c2": "#d9b878",
    "c3": "#93c79a",
    "c4": "#cba6d6",
    "c5": "#7cc6d8",
    "c6": "#d9a396",
}
"""Colors if the reader's system prefers dark pages."""
