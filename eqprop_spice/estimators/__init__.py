"""Circuits as estimators of scikit-learn."""
