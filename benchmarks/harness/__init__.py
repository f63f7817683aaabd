"""What every benchmark needs: peers' environments, their processes, rounds, verdicts and reports.

Standard library only: any Python that bursty supports runs it, with no environment of its own.
"""
