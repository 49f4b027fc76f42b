"""What a process finds in saved models that has neither their source nor NumPyro: ``reader.py M.plait …``"""

import sys

if __name__ == "__main__":
    sys.modules["numpyro"] = sys.modules["tests"] = None  # whoever imports them fails

import jax
import numpy as np

import plait


def flat(tree, name):
    """The arrays of a nested result by path."""
    return {f"{name}{jax.tree_util.keystr(p)}": np.asarray(x) for p, x in jax.tree_util.tree_leaves_with_path(tree)}


def found(model, z):
    """What is compared: densities and their derivatives, values, terms, draws."""
    key = jax.random.key(7)
    values = model.constrain(z, deterministic=True)
    latents = {name: values[name] for name in model.shapes}
    results = {
        "log_density": model.log_density(z),
        "both": model.log_density_and_grad(z),
        "hvp": model.hvp(z, z + 1),
        "parts": [model.log_prior(z), model.total_log_likelihood(z), model.log_det_jacobian(z)],
        "tempered": model.tempered_log_density_and_grad(z, 0.3),
        "mode": model.log_density_and_grad(z, jacobian=False),
        "values": values,
        "z": model.unconstrain(latents),
        "joint": model.log_joint(latents),
        "terms": model.log_prob_terms(latents),
        "likelihood": model.log_likelihood(latents),
        "observed": model.observed_data,
        "predictive": model.sample(key, (3,), given=latents),
    }
    return {k: v for name, tree in results.items() for k, v in flat(tree, name).items()}


def point(model):
    """Where models are compared."""
    return 0.3 * np.cos(np.arange(model.dim))


if __name__ == "__main__":
    for path in sys.argv[1:]:
        model = plait.load(path)
        np.savez(f"{path}.npz", **found(model, point(model)))
