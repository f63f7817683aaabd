"""joblib and scikit-learn on bursty's workers."""

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from pickle import PicklingError

import joblib
import numpy as np
import pytest
from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

import bursty.interop.joblib  # noqa: F401
from bursty import Executor, WorkerLost
from bursty.errors import CallTimeout, ConfigError, MemoryLimit, SerializationError

URL = "local?workers=2"


@pytest.fixture(autouse=True)
def here(folder: Path) -> Path:
    return folder


@pytest.fixture
def two() -> Iterator[None]:
    """Two workers, warm from test to test."""
    with joblib.parallel_config("bursty", url=URL):
        yield


def square(x: int) -> int:
    return x * x


def pid_of(x: int) -> int:
    return os.getpid()


def fail_at(x: int, bad: int) -> int:
    if x == bad:
        raise KeyError(f"bad {x}")
    return x


def spin(seconds: float) -> float:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
    return seconds


def scale_in_parallel(n: int) -> tuple[int, list[int]]:
    inner = Parallel(n_jobs=2)(delayed(square)(x) for x in range(n))
    return os.getpid(), inner


# What users of joblib do


@pytest.mark.usefixtures("two")
def test_results_in_order_from_other_processes() -> None:
    assert Parallel(n_jobs=2)(delayed(square)(x) for x in range(200)) == [x * x for x in range(200)]
    pids = set(Parallel(n_jobs=2)(delayed(pid_of)(x) for x in range(20)))
    assert os.getpid() not in pids
    assert 1 <= len(pids) <= 2


@pytest.mark.usefixtures("two")
def test_lambdas_arrays_and_closures() -> None:
    big = np.arange(1_000_000.0)
    sums = Parallel(n_jobs=2)(delayed(lambda a, k: float(a.sum()) * k)(big, k) for k in range(6))
    assert sums == [float(big.sum()) * k for k in range(6)]


@pytest.mark.usefixtures("two")
def test_workers_stay_warm_between_calls() -> None:
    first = set(Parallel(n_jobs=2)(delayed(pid_of)(x) for x in range(40)))
    second = set(Parallel(n_jobs=2)(delayed(pid_of)(x) for x in range(40)))
    assert len(first | second) <= 2


def test_n_jobs() -> None:
    with joblib.parallel_config("bursty", url="local?workers=3"):
        assert joblib.effective_n_jobs(2) == 2
        assert joblib.effective_n_jobs(-1) == 3
        assert joblib.effective_n_jobs(-2) == 2
        assert joblib.effective_n_jobs(-9) == 1
        assert joblib.effective_n_jobs(9) == 3
        assert joblib.effective_n_jobs(None) == 1
        with pytest.raises(ValueError, match="n_jobs == 0"):
            Parallel(n_jobs=0)(delayed(square)(x) for x in range(3))
        assert Parallel()(delayed(pid_of)(0) for _ in range(4)).count(os.getpid()) == 0  # unset means all
        assert Parallel(n_jobs=1)(delayed(pid_of)(0) for _ in range(2)) == [os.getpid()] * 2
    with joblib.parallel_config("bursty", n_jobs=2, url="local?workers=3"):
        assert Parallel()._effective_n_jobs() == 2


def note_overlap(folder: str, x: int) -> int:
    """How many of us run now."""
    mine = Path(folder, str(x))
    mine.touch()
    spin(0.05)
    count = len(list(Path(folder).iterdir()))
    mine.unlink()
    return count


def test_n_jobs_below_the_workers_is_kept(tmp_path: Path) -> None:
    running = tmp_path / "running"
    running.mkdir()
    with joblib.parallel_config("bursty", url="local?workers=4"):
        counts = Parallel(n_jobs=2, batch_size=1)(delayed(note_overlap)(str(running), x) for x in range(12))
    assert max(counts) == 2


@pytest.mark.usefixtures("two")
def test_generators() -> None:
    ordered = Parallel(n_jobs=2, return_as="generator")(delayed(square)(x) for x in range(50))
    assert list(ordered) == [x * x for x in range(50)]
    loose = Parallel(n_jobs=2, return_as="generator_unordered")(delayed(square)(x) for x in range(50))
    assert sorted(loose) == [x * x for x in range(50)]


@pytest.mark.usefixtures("two")
def test_a_generator_that_is_dropped_ends_its_tasks_and_nobody_elses() -> None:
    dropped = Parallel(n_jobs=2, return_as="generator", batch_size=1)(delayed(spin)(t) for t in (0.0, 600.0, 600.0))
    kept = Parallel(n_jobs=2, return_as="generator", batch_size=1)(delayed(square)(x) for x in range(6))
    assert next(dropped) == 0.0
    with pytest.warns(UserWarning, match="cancelled"):
        dropped.close()
    assert list(kept) == [x * x for x in range(6)]


def after(gate: str, x: int) -> int:
    while not os.path.exists(gate):
        time.sleep(0.005)
    return x


@pytest.mark.usefixtures("two")
def test_pre_dispatch_bounds_what_is_pulled(tmp_path: Path) -> None:
    pulled: list[int] = []

    def tasks() -> Iterator[object]:
        for x in range(40):
            pulled.append(x)
            yield delayed(after)(str(tmp_path / "gate"), x)

    results = Parallel(n_jobs=2, pre_dispatch=4, batch_size=1, return_as="generator")(tasks())
    assert len(pulled) == 4
    (tmp_path / "gate").touch()
    assert list(results) == list(range(40)) == pulled
    assert Parallel(n_jobs=2, pre_dispatch="all")(delayed(square)(x) for x in range(30)) == [x * x for x in range(30)]


@pytest.mark.usefixtures("two")
def test_batches_grow_for_small_tasks() -> None:
    parallel = Parallel(n_jobs=2)
    parallel(delayed(square)(x) for x in range(3000))
    assert parallel.n_dispatched_batches < 1000


@pytest.mark.usefixtures("two")
def test_input_generator_may_use_bursty_itself() -> None:
    """It is pulled by joblib's callbacks, which must not run on the engine's thread."""

    def tasks() -> Iterator[object]:
        for x in range(8):
            (y,) = Parallel(n_jobs=2, batch_size=1)([delayed(square)(x), delayed(square)(x)])[:1]
            yield delayed(square)(y)

    assert Parallel(n_jobs=2, pre_dispatch=2, batch_size=1)(tasks()) == [x**4 for x in range(8)]


@pytest.mark.usefixtures("two")
def test_managed_parallel_and_threads() -> None:
    with Parallel(n_jobs=2) as parallel:
        assert parallel(delayed(square)(x) for x in range(5)) == [0, 1, 4, 9, 16]
        with pytest.raises(KeyError):
            parallel(delayed(fail_at)(x, 2) for x in range(5))
        assert parallel(delayed(square)(x) for x in range(5)) == [0, 1, 4, 9, 16]
    results: dict[int, list[int]] = {}

    def one(number: int) -> None:
        with joblib.parallel_config("bursty", url=URL):
            results[number] = Parallel(n_jobs=2)(delayed(square)(x) for x in range(number, number + 30))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: [x * x for x in range(n, n + 30)] for n in range(4)}


@pytest.mark.usefixtures("two")
def test_joblib_inside_a_task() -> None:
    found = Parallel(n_jobs=2)(delayed(scale_in_parallel)(n) for n in range(4))
    assert [inner for _, inner in found] == [[x * x for x in range(n)] for n in range(4)]


def nested_bursty(n: int) -> tuple[int, int, list[int]]:

    with joblib.parallel_config("bursty"):
        return os.getpid(), joblib.effective_n_jobs(-1), Parallel(n_jobs=2)(delayed(pid_of)(x) for x in range(n))


@pytest.mark.usefixtures("two")
def test_bursty_inside_a_task_runs_there() -> None:
    for pid, jobs, inner in Parallel(n_jobs=2)(delayed(nested_bursty)(n) for n in range(1, 4)):
        assert jobs == 1
        assert set(inner) == {pid}


# Errors


@pytest.mark.usefixtures("two")
def test_the_original_exception_with_the_workers_traceback() -> None:
    with pytest.raises(KeyError, match="bad 7") as caught:
        Parallel(n_jobs=2)(delayed(fail_at)(x, 7) for x in range(20))
    assert "in fail_at" in str(caught.value.__cause__)


@pytest.mark.usefixtures("two")
def test_an_error_ends_running_tasks() -> None:
    before = time.monotonic()
    with pytest.raises(KeyError):
        Parallel(n_jobs=2, batch_size=1)([delayed(spin)(600), delayed(fail_at)(1, 1), delayed(spin)(600)])
    assert Parallel(n_jobs=2)(delayed(square)(x) for x in range(4)) == [0, 1, 4, 9]
    assert time.monotonic() - before < 120


@pytest.mark.usefixtures("two")
def test_what_cannot_be_pickled_is_a_pickling_error() -> None:
    with pytest.raises(PicklingError, match="lock") as caught:
        Parallel(n_jobs=2)(delayed(str)(threading.Lock()) for _ in range(4))
    assert isinstance(caught.value, SerializationError)
    # the ones after the first are sent from the callback thread: no hang there either
    items: list[object] = [*range(20), threading.Lock()]
    with pytest.raises(PicklingError):
        Parallel(n_jobs=2, pre_dispatch=2, batch_size=1)(delayed(str)(item) for item in items)


@pytest.mark.usefixtures("two")
def test_a_task_that_dies_is_what_joblib_calls_it() -> None:
    with pytest.raises(TerminatedWorkerError) as caught:
        Parallel(n_jobs=2)(delayed(os._exit)(3) for _ in range(2))
    assert isinstance(caught.value, WorkerLost)
    assert "code 3" in str(caught.value)
    assert Parallel(n_jobs=2)(delayed(square)(x) for x in range(4)) == [0, 1, 4, 9]


def test_memory_limit_of_a_worker() -> None:
    with (
        joblib.parallel_config("bursty", n_jobs=2, url=URL, memory="300 MiB"),
        pytest.raises(MemoryLimit) as caught,
    ):
        Parallel()(delayed(eat)(1 << 30) for _ in range(2))
    assert isinstance(caught.value, TerminatedWorkerError)


def eat(size: int) -> int:
    return len(bytearray(b"x") * size)


def test_time_limit_of_a_task_and_of_parallel() -> None:
    with joblib.parallel_config("bursty", n_jobs=2, url=URL, timeout=0.3), pytest.raises(CallTimeout) as caught:
        Parallel()(delayed(spin)(t) for t in (0.0, 600.0))
    assert isinstance(caught.value, multiprocessing.TimeoutError)
    with joblib.parallel_config("bursty", n_jobs=2, url=URL), pytest.raises(multiprocessing.TimeoutError):
        Parallel(timeout=0.2, batch_size=1)(delayed(spin)(600.0) for _ in range(2))


def test_the_limit_is_of_a_task_not_of_a_batch() -> None:
    with joblib.parallel_config("bursty", n_jobs=2, url=URL, timeout=20):
        parallel = Parallel()
        parallel(delayed(square)(x) for x in range(300))
        assert parallel.n_dispatched_batches == 300


def flaky(folder: str, x: int) -> int:
    try:
        Path(folder, f"tried-{x}").touch(exist_ok=False)
    except FileExistsError:
        return x
    raise OSError("first try")


def test_retries(tmp_path: Path) -> None:
    with joblib.parallel_config("bursty", n_jobs=2, url=URL, retries=2):
        assert Parallel(batch_size=1)(delayed(flaky)(str(tmp_path), x) for x in range(4)) == [0, 1, 2, 3]


def test_wrong_options() -> None:
    with pytest.raises(TypeError, match="colour"):
        joblib.parallel_config("bursty", colour="red")
    with pytest.raises(ConfigError):
        joblib.parallel_config("bursty", timeout="soon")
    with joblib.parallel_config("bursty", url="nowhere://x"), pytest.raises(ConfigError, match="nowhere"):
        Parallel(n_jobs=2)(delayed(square)(x) for x in range(3))
    with pytest.raises(ValueError, match="shared memory"):
        Parallel(n_jobs=2, backend="bursty", require="sharedmem")


# Where tasks run


def test_the_executor_around_is_used() -> None:
    with Executor(URL) as executor:
        with joblib.parallel_config("bursty"):
            assert Parallel(n_jobs=-1)(delayed(square)(x) for x in range(10)) == [x * x for x in range(10)]
        rows = executor.report().rows()
        assert [row["function"] for row in rows] == ["square"]
        assert Parallel(n_jobs=2, backend="bursty")(delayed(square)(x) for x in range(3)) == [0, 1, 4]


def test_an_executor_given() -> None:
    with Executor(URL) as executor, joblib.parallel_config("bursty", executor=executor):
        pass
    with Executor(URL) as executor:
        assert Parallel(n_jobs=2, backend="bursty", executor=executor)(delayed(square)(x) for x in range(3)) == [
            0,
            1,
            4,
        ]
        assert executor.report().rows()[0]["failed"] == 0
    with pytest.raises(ConfigError, match="exclude"):
        joblib.parallel_config("bursty", executor=executor, url=URL)


def count_threads() -> set[int]:
    import threadpoolctl

    np.ones((2, 2)) @ np.ones((2, 2))
    return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}


def test_inner_max_num_threads() -> None:
    with joblib.parallel_config("bursty", n_jobs=2, url=URL, inner_max_num_threads=1):
        assert all(found <= {1} for found in Parallel()(delayed(count_threads)() for _ in range(2)))


@pytest.mark.parametrize("order", ["import bursty.interop, joblib", "import joblib, bursty.interop"])
def test_joblib_learns_the_name_in_either_order(order: str, folder: Path) -> None:
    code = f"""
import sys
{order}
assert "bursty.interop.joblib" not in sys.modules
with joblib.parallel_config("bursty", n_jobs=2, url="local?workers=2"):
    print(joblib.Parallel()(joblib.delayed(abs)(-x) for x in range(5)))
print(joblib.Parallel(n_jobs=2, backend="bursty")(joblib.delayed(abs)(-x) for x in range(2)))
print([finder for finder in sys.meta_path if type(finder).__module__.startswith("bursty")])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:3] == ["[0, 1, 2, 3, 4]", "[0, 1]", "[]"]


def test_the_hook_loads_nothing() -> None:
    code = "import sys; import bursty.interop; print('joblib' in sys.modules, 'bursty.engine.executor' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["False", "False"], done.stderr


# scikit-learn, unchanged. Imported by its tests: workers import this module for the functions above.


@pytest.mark.usefixtures("two")
def test_grid_search() -> None:
    from sklearn.datasets import load_iris
    from sklearn.model_selection import GridSearchCV
    from sklearn.neighbors import KNeighborsClassifier

    x, y = load_iris(return_X_y=True)
    search = GridSearchCV(KNeighborsClassifier(), {"n_neighbors": list(range(1, 9))}, n_jobs=2, cv=4)
    search.fit(x, y)
    with joblib.parallel_config("sequential"):
        plain = GridSearchCV(KNeighborsClassifier(), {"n_neighbors": list(range(1, 9))}, cv=4).fit(x, y)
    assert search.best_params_ == plain.best_params_
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"])


@pytest.mark.usefixtures("two")
def test_forest_and_cross_validation() -> None:
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import cross_val_score
    from sklearn.preprocessing import StandardScaler

    x, y = load_breast_cancer(return_X_y=True)
    x = StandardScaler().fit_transform(x)
    forest = RandomForestClassifier(30, n_jobs=2, random_state=0).fit(x, y)
    alone = RandomForestClassifier(30, n_jobs=1, random_state=0).fit(x, y)
    np.testing.assert_array_equal(forest.predict(x), alone.predict(x))
    scores = cross_val_score(RandomForestClassifier(10, n_jobs=2, random_state=0), x, y, n_jobs=2, cv=4)
    assert scores.mean() > 0.9


@pytest.mark.usefixtures("two")
def test_errors_of_scikit_learn() -> None:
    from sklearn.datasets import load_iris
    from sklearn.model_selection import GridSearchCV
    from sklearn.neighbors import KNeighborsClassifier

    x, y = load_iris(return_X_y=True)
    search = GridSearchCV(KNeighborsClassifier(), {"n_neighbors": [0]}, n_jobs=2, error_score="raise")
    with pytest.raises(ValueError, match="n_neighbors"):
        search.fit(x, y)
