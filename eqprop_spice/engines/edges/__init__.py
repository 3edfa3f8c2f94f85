"""Networks whose edges are transistors: their equations, and how they are solved."""
