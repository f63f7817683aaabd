"""A job's inputs: the form that its type hints make, and how values pass through it.

``types`` and ``table``: what users write in hints (``File``, ``Unit``, ``Table``). ``schema`` makes the form of a
function, in the worker. ``parse`` turns text of a command line or a page into values, ``validate`` checks values
against a form without any code of the user's. ``convert`` turns them into the function's arguments, again
in the worker.
"""
