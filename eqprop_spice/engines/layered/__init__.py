"""Newton on layered circuits, the hidden nodes solved exactly within each step."""
