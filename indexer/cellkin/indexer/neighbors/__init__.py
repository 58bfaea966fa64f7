"""Building the neighbors' index of a reference, and measuring how good it is."""
