"""A part by the name that a recipe's user gives."""


def chosen(options, name):
    """One of several, by the name that a recipe's user gives.

    Arguments
    ---------
    options : dict
    name : str

    Returns
    -------
    object

    Example
    -------
    >>> chosen({"fixed": 1, "segments": 2}, "segments")
    2
    """
    if name not in options:
        raise ValueError(f"'{name}' is none of {', '.join(options)}")
    return options[name]
