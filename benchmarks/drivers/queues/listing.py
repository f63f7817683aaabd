"""A table of many runs, as years of use leave it, and what people ask of it."""

from __future__ import annotations

from bursty.records import RUN_FIELDS, RunQuery, RunRecord, RunStatus

JOBS = ("forecast", "plan", "score", "train", "report")
PEOPLE = 40
VERSIONS = 25
OPEN = 20
FAILED, CANCELLED = 997, 20_000
"""Every so manieth run: a list of 50 failed ones must go far back, and all cancelled ones are fewer than that."""
LIMIT = 50
EPOCH = 1_760_000_000.0


def run(number: int, count: int) -> RunRecord:
    """The run with this number of so many; the newest ones are open."""
    status = RunStatus.FAILED if number % FAILED == 0 else RunStatus.SUCCEEDED
    status = RunStatus.CANCELLED if number % CANCELLED == 1 else status
    if number >= count - OPEN:
        status = RunStatus.QUEUED if number % 2 else RunStatus.RUNNING
    scheduled = number % 5 < 2
    at = EPOCH + 60.0 * number
    return RunRecord(
        id=f"{int(at * 1000):012x}-7000-8000-{number:012x}",
        app="bench",
        job=JOBS[number % len(JOBS)],
        version=f"{number * VERSIONS // count:064x}",
        inputs=f'{{"growth": 0.05, "scenario": "base", "rows": {number}}}',
        inputs_hash=f"{number % 1000:064x}",
        status=status,
        attempt=1,
        created_by=f"person {number % PEOPLE}" if not scheduled else "scheduler",
        schedule=f"bench/{JOBS[number % len(JOBS)]}" if scheduled else None,
        metrics='{"mean": 1200000.0, "error": 0.07}',
        output=f"runs/{number}/1" if status.is_final else None,
        not_before=at,
        created_at=at,
        started_at=at + 1,
        finished_at=at + 9 if status.is_final else None,
        seq=3,
    )


def fill(url: str, count: int) -> str:
    """Write so many runs past the rules into a new state store; its URL."""
    import sqlalchemy as sa

    from bursty.wiring import open_state

    open_state(url).close()
    columns, values = ", ".join(RUN_FIELDS), ", ".join(f":{name}" for name in RUN_FIELDS)
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        runs = (run(number, count) for number in range(count))
        rows = [{name: plain(getattr(one, name)) for name in RUN_FIELDS} for one in runs]
        connection.execute(sa.text(f"INSERT INTO bursty_runs ({columns}) VALUES ({values})"), rows)
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("ANALYZE"))  # as autovacuum does soon
    engine.dispose()
    return url


def plain(value: object) -> object:
    return value.value if isinstance(value, RunStatus) else value


def queries(count: int) -> list[tuple[str, RunQuery, int]]:
    """What is asked, in words, as a query, and how many runs it finds."""
    runs = [run(number, count) for number in range(count)]
    fail, job, app = RunStatus.FAILED, "score", "bench"
    person, schedule, version = "person 3", "bench/plan", runs[count // 2].version
    asked = {
        "nothing": RunQuery(),
        "app": RunQuery(app=app),
        "job": RunQuery(job=job),
        "status: succeeded": RunQuery(status=RunStatus.SUCCEEDED),
        "status: failed": RunQuery(status=fail),
        "status: lost (none)": RunQuery(status=RunStatus.LOST),
        "open ones": RunQuery(open_only=True),
        "version": RunQuery(version=version),
        "created_by": RunQuery(created_by=person),
        "schedule": RunQuery(schedule=schedule),
        "inputs_hash": RunQuery(inputs_hash=runs[7].inputs_hash),
        "app, job": RunQuery(app=app, job=job),
        "app, status: failed": RunQuery(app=app, status=fail),
        "app, status: cancelled": RunQuery(app=app, status=RunStatus.CANCELLED),
        "job, status: cancelled": RunQuery(job=job, status=RunStatus.CANCELLED),
        "app, created_by nobody": RunQuery(app=app, created_by="nobody"),
        "job, status: failed": RunQuery(job=job, status=fail),
        "job, version": RunQuery(job=job, version=version),
        "job, created_by": RunQuery(job=job, created_by=person),
        "version, created_by": RunQuery(version=version, created_by=person),
        "status: failed, created_by": RunQuery(status=fail, created_by=person),
        "status: failed, schedule": RunQuery(status=fail, schedule=schedule),
        "all of them": RunQuery(
            app=app, job=job, status=RunStatus.SUCCEEDED, version=version, created_by=person
        ),
        "the last page": RunQuery(before=runs[LIMIT // 2].id),
        "job, a page in the middle": RunQuery(job=job, before=runs[count // 2].id),
    }  # fmt: skip
    return [(name, query, min(LIMIT, sum(fits(query, one) for one in runs))) for name, query in asked.items()]


def fits(query: RunQuery, one: RunRecord) -> bool:
    """Whether a query means this run: what the store should say, found the slow way."""
    names = ("app", "job", "status", "version", "created_by", "schedule", "inputs_hash")
    wanted = [(name, value) for name in names if (value := getattr(query, name)) is not None]
    return (
        all(getattr(one, name) == value for name, value in wanted)
        and (query.before is None or one.id < query.before)
        and not (query.open_only and one.is_final)
    )
