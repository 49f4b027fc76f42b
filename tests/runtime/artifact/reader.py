"""What a process finds in saved models that has neither their source nor NumPyro: ``reader.py NAMES M.plait …``"""

import sys

if __name__ == "__main__":
    sys.modules["numpyro"] = sys.modules["tests"] = None  # whoever imports them fails

import jax
import numpy as np

import plait


def flat(tree, name):
    """The arrays of a nested result by path."""
    return {f"{name}{jax.tree_util.keystr(p)}": np.asarray(x) for p, x in jax.tree_util.tree_leaves_with_path(tree)}


def found(model, z, names=None):
    """What is compared, by path; of `names` alone where they are given."""
    key = jax.random.key(7)
    values = model.constrain(z, deterministic=True)
    latents = {name: values[name] for name in model.shapes}
    results = {
        "values": lambda: values,
        "both": lambda: model.log_density_and_grad(z),
        "terms": lambda: model.log_prob_terms(latents),
        "log_density": lambda: model.log_density(z),
        "hvp": lambda: model.hvp(z, z + 1),
        "parts": lambda: [model.log_prior(z), model.total_log_likelihood(z), model.log_det_jacobian(z)],
        "tempered": lambda: model.tempered_log_density_and_grad(z, 0.3),
        "mode": lambda: model.log_density_and_grad(z, jacobian=False),
        "z": lambda: model.unconstrain(latents),
        "joint": lambda: model.log_joint(latents),
        "likelihood": lambda: model.log_likelihood(latents),
        "observed": lambda: model.observed_data,
        "predictive": lambda: model.sample(key, (3,), given=latents),
        "start": lambda: model.init_params(key),
    }
    chosen = [(name, result()) for name, result in results.items() if names is None or name in names]
    return {k: v for name, tree in chosen for k, v in flat(tree, name).items()}


def point(model):
    """Where models are compared."""
    return 0.3 * np.cos(np.arange(model.dim))


if __name__ == "__main__":
    names, *paths = sys.argv[1:]
    for path in paths:
        model = plait.load(path)
        np.savez(f"{path}.npz", **found(model, point(model), names.split(",") if names else None))
