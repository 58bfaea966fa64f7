"""The demo: mouse cells labelled from human ones by nothing but what is written about genes."""
