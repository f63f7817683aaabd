"""The engine: Executor, its futures and the thread that drives workers. It never opens a value; ``Future.result()``
does.
"""
