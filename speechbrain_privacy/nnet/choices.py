"""A part by the name that a recipe's user gives."""


def chosen(options, name, what=""):
    """One of several, by the name that a recipe's user gives.

    Arguments
    ---------
    options : dict
    name : str
    what : str
        What is chosen, to be named when there is no such option.

    Returns
    -------
    object

    Example
    -------
    >>> chosen({"fixed": 1, "segments": 2}, "segments")
    2
    """
    if name not in options:
        given = f"{what}: '{name}'" if what else f"'{name}'"
        raise ValueError(f"{given} is none of {', '.join(options)}")
    return options[name]
