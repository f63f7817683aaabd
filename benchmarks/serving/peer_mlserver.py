"""MLServer: an echo and the forest behind its protocol of tensors, two workers.

``python peer_mlserver.py PORT`` writes its settings into a folder and starts it there.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import forest
import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput
from models import Item
from pydantic import ValidationError

WORKERS = 2
BATCH_WAIT = 0.001


class Echo(MLModel):
    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        try:
            Item.model_validate({one.name: one.data[0] for one in payload.inputs})
        except ValidationError as error:
            raise InferenceError(str(error)) from None
        outputs = [
            ResponseOutput(name=one.name, shape=one.shape, datatype=one.datatype, data=one.data)
            for one in payload.inputs
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)


class Iris(MLModel):
    async def load(self) -> bool:
        self.model = forest.Forest()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0])
        fault = getattr(payload.parameters, "fault", None)
        if fault:
            self.model.misbehave(fault)
        found = np.asarray(self.model.of(rows))
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("probabilities", found)])


def settle(folder: Path, port: int) -> None:
    """Its settings: one folder for each model, and one file for the server."""
    batching = {"max_batch_size": 64, "max_batch_time": forest.wait_seconds(BATCH_WAIT)}
    for name, kind in (("echo", Echo), ("iris", Iris)):
        (folder / name).mkdir()
        more = batching if kind is Iris and os.environ.get("BURSTY_BENCH_BATCH") else {}
        settings = {"name": name, "implementation": f"peer_mlserver.{kind.__name__}", **more}
        (folder / name / "model-settings.json").write_text(json.dumps(settings))
    server = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": port + 1,
        "metrics_port": port + 2,
        "parallel_workers": WORKERS,
        "metrics_dir": str(folder / "metrics"),
        "environments_dir": str(folder / "environments"),
    }
    (folder / "settings.json").write_text(json.dumps(server))


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="mlserver-", dir=os.environ["BURSTY_BENCH_SCRATCH"]))
    settle(folder, int(sys.argv[1]))
    program = str(Path(sys.executable).with_name("mlserver"))
    os.execv(program, [program, "start", str(folder)])


if __name__ == "__main__":
    main()
