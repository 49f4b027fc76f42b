"""The primitives whose every result comes from the entries at its place, and their derivatives as well."""

ELEMENTWISE = frozenset(
    {
        *("add", "sub", "mul", "div", "neg", "max", "min", "abs", "sign", "square", "integer_pow", "pow", "sqrt"),
        *("rsqrt", "cbrt", "exp", "exp2", "expm1", "log", "log1p", "logistic", "tanh", "sin", "cos", "tan", "atan2"),
        *("erf", "erfc", "erf_inv", "lgamma", "digamma", "floor", "ceil", "round", "is_finite"),
        *("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "select_n", "clamp"),
        *("convert_element_type", "stop_gradient", "copy"),
    }
)

__all__ = ["ELEMENTWISE"]
