"""The supervisor: owns worker children. Starts, marks, captures, limits and kills them; nothing here knows of an
engine.
"""
