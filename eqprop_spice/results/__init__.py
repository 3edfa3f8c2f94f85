"""What a training leaves behind: its run folder, figures, netlists and their verification."""
