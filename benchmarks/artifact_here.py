"""What `artifact.py` measures in one process: ``artifact_here.py WHAT FILE MODEL`` prints figures as JSON.

saved     compiles the model, writes the file, and times further gradients of both in turn
loaded    from the end of `import jax` to the first gradient, from the file alone
compiled  likewise, from the model's source
numpyro   likewise, by NumPyro's `initialize_model`
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Nothing else is imported up here: what plait imports has to be counted.

ROOT = Path(__file__).parents[1]
ROUNDS = 9
POINTS = 64  # of a batch
EXAMPLES = {
    "diabetes": "progression",
    "digits_vae": "digits",
    "doctor_visits": "doctor_visits",
    "eight_schools": "eight_schools",
    "hierarchical_regression": "investment",
    "logistic_regression": "benign",
    "minibatch_logistic_regression": "clicks",
    "radon": "radon",
}  # file: its model function
IN_EXAMPLES = "examples/"  # what the name of such a model begins with

Figures = dict[str, Any]
Ready = Callable[[Callable[..., Any], dict[str, Any]], Any]


def case(name: str, library: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The model over a library's primitives, and its arguments by name, floats in float64."""
    primitives = importlib.import_module(library)
    if name.startswith(IN_EXAMPLES):
        file = name.removeprefix(IN_EXAMPLES)
        sys.path.insert(0, str(ROOT / "examples"))
        example: Any = importlib.import_module(file)
        example.plait = primitives  # NumPyro's have plait's names and signatures
        return getattr(example, EXAMPLES[file]), example.data()
    import numpy as np

    from tests.models import MODELS, SCAN_MODELS

    model = next(m for m in (*MODELS, *SCAN_MODELS) if m.name == name)
    return model.bind(primitives), dict(model.args(np.float64))


def compiled_model(model: Callable[..., Any], data: dict[str, Any]) -> Any:
    """With random params drawn."""
    import jax

    import plait

    compiled = plait.compile(model, **data)
    return (
        compiled.with_params(compiled.init_param_values(jax.random.key(0))) if compiled.has_random_params else compiled
    )


# -- to the first gradient --------------------------------------------------------------------------------


class Watch:
    """Seconds by each clock since it was started, and what they were when something was reached."""

    def __init__(self) -> None:
        self.spent: Figures = {}
        self.go_on()

    def go_on(self) -> None:
        """Forgets the time since the last mark."""
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def mark(self, what: str) -> None:
        """Adds the time since the last mark."""
        self.spent[what] = {"wall": time.perf_counter() - self.wall, "CPU": time.process_time() - self.cpu}
        self.go_on()


def loaded_gradient(path: str) -> Figures:
    """From the file, where neither NumPyro nor the models can be imported."""
    sys.modules.update(dict.fromkeys(("numpyro", "tests")))  # type: ignore[dict-item]
    import jax

    watch = Watch()
    import plait

    loaded = plait.load(path)
    watch.mark("loaded")
    jax.block_until_ready(loaded.log_density_and_grad(jax.numpy.zeros(loaded.dim)))
    watch.mark("gradient")
    return watch.spent


def gradient_of_source(name: str, library: str) -> Figures:
    """From the model's source; reading its data is not counted."""
    import jax

    watch = Watch()
    import numpyro.infer.util  # a file with a model imports its distributions

    if library == "plait":
        import plait

        plait.compile  # noqa: B018 — it is imported when it is first asked for
    watch.mark("imported")
    model, data = case(name, library)
    watch.go_on()
    if library == "plait":
        compiled = compiled_model(model, data)
        result = compiled.log_density_and_grad(jax.numpy.zeros(compiled.dim))
    else:
        info = numpyro.infer.util.initialize_model(jax.random.key(0), model, model_kwargs=data)
        result = jax.jit(jax.value_and_grad(info.potential_fn))(info.param_info.z)
    jax.block_until_ready(result)
    watch.mark("gradient")
    return watch.spent


# -- the file, and further gradients ----------------------------------------------------------------------


def saved(path: str, name: str, rounds: int) -> Figures:
    """Size, seconds to save, and what a further gradient costs; or why the model has none."""
    import plait
    from plait.ir.errors import ModelError

    compiled = compiled_model(*case(name, "plait"))
    try:
        dim = compiled.dim
    except ModelError as e:
        return {"left out": str(e)}
    watch = Watch()
    compiled.save(path, progress=False)
    watch.mark("saved")
    further = further_gradients({"compiled": compiled, "loaded": plait.load(path)}, rounds)
    return {"dim": dim, "bytes": Path(path).stat().st_size, **watch.spent, "next": further}


def further_gradients(models: dict[str, Any], rounds: int) -> Figures:
    """Microseconds by place, library and clock; a batch counts as one."""
    import jax.numpy as jnp

    from plait.timing import START, measure

    z = START * jnp.cos(jnp.arange(models["compiled"].dim, dtype=models["compiled"].dtype))
    points = z + START * jnp.sin(jnp.arange(POINTS, dtype=z.dtype))[:, None]
    require_agreement(models, points)
    found: Figures = {}
    for point in (z, points):
        for record in measure({library: prepared(model, point) for library, model in models.items()}, rounds):
            place = record["place"] if point is z else f"{record['place']}, {POINTS} points"
            found.setdefault(place, {})[record["library"]] = {"wall": record["wall"], "CPU": record["CPU"]}
    return found


def prepared(model: Any, point: Any) -> Any:
    """The gradient of one point, or of the sum over several."""
    import jax

    from plait.timing import Prepared

    if point.ndim == 1:
        return Prepared(model.log_density_and_grad, model.log_density_and_grad, point, 1, lambda g: g)

    def of_sum(points: Any) -> Any:
        values, gradients = jax.vmap(model.log_density_and_grad)(points)
        return values.sum(), gradients

    return Prepared(of_sum, jax.jit(of_sum), point, 1, lambda g: g)


def require_agreement(models: dict[str, Any], points: Any) -> None:
    """Raises SystemExit where a saved model has other values or gradients than the compiled one."""
    import jax
    import numpy as np

    first, second = (jax.vmap(model.log_density_and_grad)(points) for model in models.values())
    for a, b in zip(first, second, strict=True):
        error = np.max(np.abs(a - b)) / np.max(np.abs(a))
        if not error <= 1e-9:
            raise SystemExit(f"the saved model differs from the compiled one by {error:.1e}, relatively")


def main() -> None:
    """Prints the figures as the last line."""
    what, path, name, *rounds = sys.argv[1:]
    sys.path.insert(0, str(ROOT))  # this checkout, whichever is installed
    figures = {
        "saved": lambda: saved(path, name, *map(int, rounds)),
        "loaded": lambda: loaded_gradient(path),
        "compiled": lambda: gradient_of_source(name, "plait"),
        "numpyro": lambda: gradient_of_source(name, "numpyro"),
    }[what]()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
