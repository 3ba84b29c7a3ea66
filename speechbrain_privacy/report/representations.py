"""What representations are like, as a table."""

from speechbrain_privacy.report.tables import format_lines

#: Column -> where its number is, below a tap.
COLUMNS = {
    "RankMe": ("rankme",),
    "centred": ("rankme_centred",),
    "uniformity": ("uniformity",),
    "LiDAR": ("lidar_views",),
    "alignment": ("alignment_views",),
    "LiDAR speakers": ("lidar_speakers",),
    "LiDAR phones": ("lidar_phones",),
    "phone alignment": ("alignment",),
    "PNMI %": ("clusters", "pnmi"),
    "phone purity %": ("clusters", "phone_purity"),
    "ABX within %": ("abx_within", "error"),
    "ABX across %": ("abx_across", "error"),
}
#: What the columns say, by their first words.
MEANINGS = {
    "RankMe": "directions that frames take",
    "centred": "RankMe of what varies between frames (few: it has collapsed; "
    "few by the first alone: an offset that all frames share)",
    "uniformity": "lower: more spread out over the sphere, where an offset "
    "counts, too",
    "LiDAR": "directions that tell utterances apart however they are heard "
    "(in drawn rooms, in noise), or speakers, or phones",
    "alignment": "squared distance on the sphere between a frame and the same "
    "in another room, in noise; which is low after a collapse, too",
    "phone alignment": "this distance between two speakers who say one phone",
    "PNMI": "of clusters and phones; more is better",
    "phone purity": "of clusters; more is better",
    "ABX": "phones that are nearer to another one, of one speaker or two; less "
    "is better, 50 is guessing",
}
SHARES = ("PNMI %", "phone purity %")


def format_representations(found, style="text"):
    """A table of taps, how alike they are, and what could not be computed.

    Arguments
    ---------
    found : dict
        ``taps``: tap -> metrics, as ``represent`` writes them.
    style : str
        ``text``, ``markdown``, ``latex`` or ``csv``.

    Returns
    -------
    str
        With ``csv`` and ``latex`` the table alone.

    Example
    -------
    >>> tap = {"rankme": 3.21, "uniformity": {"not_computed": "why"}}
    >>> print(format_representations({"taps": {"encoder": tap}}, "csv"))
    representation,RankMe,uniformity
    encoder,3.2,-
    """
    taps = found["taps"]
    columns = {
        name: path
        for name, path in COLUMNS.items()
        if any(path[0] in tap for tap in taps.values())
    }
    lines = [("representation", *columns)]
    for tap, metrics in taps.items():
        cells = [_number(metrics, name, path) for name, path in columns.items()]
        lines.append((tap, *cells))
    table = format_lines(lines, style)
    if style in ("csv", "latex"):
        return table
    alike = [
        f"{one} and {other} {value:.2f}"
        for one, metrics in taps.items()
        for other, value in metrics.get("cka", {}).items()
        if one < other and not isinstance(value, dict)
    ]
    missing = sorted(
        {
            f"{name} of {tap}: {value['not_computed']}"
            for tap, metrics in taps.items()
            for name, value in metrics.items()
            if isinstance(value, dict) and "not_computed" in value
        }
    )
    meanings = [
        f"{name}: {text}"
        for name, text in MEANINGS.items()
        if any(column.startswith(name) for column in columns)
    ]
    further = [f"{'; '.join(meanings)}."] if meanings else []
    further += [f"CKA (1: the same): {', '.join(alike)}"] if alike else []
    if missing:
        further.append(f"not computed: {'; '.join(missing)}")
    return "\n\n".join([table, *further])


def _number(metrics, name, path):
    value = metrics
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, int | float):
        return "-"
    if name in SHARES:
        value = 100 * value
    # Plus 0: no minus before zeros.
    return f"{round(value, 2) + 0:.2f}" if abs(value) < 1 else f"{value:.1f}"
