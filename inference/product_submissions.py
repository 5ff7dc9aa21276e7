"""submission.csv of Cdiscount, `_id,category_id`, and the truth in the same form."""
import io

import numpy as np
import pandas as pd

from inference.submissions import SubmissionError
from records.files import write_text

ID, CATEGORY, PART = "_id", "category_id", "part"


def write_product_submission(path, ids, categories, sample_ids=None):
    """Writes a row for each of sample_ids (default: ids), in their order.

    ids, categories: str [n]. sample_ids: the same ids in another order. Raises SubmissionError, naming one that
    is missing or double, before anything is written. Memory: about 300 bytes a product.
    """
    table = pd.Series(np.asarray(categories, object), pd.Index(np.asarray(ids, object)))
    wanted = table.index if sample_ids is None else pd.Index(np.asarray(sample_ids, object))
    _check_same((("the store", table.index), ("the sample", wanted)), f"{path} is not written: ")
    text = io.StringIO()
    rows = pd.DataFrame({ID: wanted, CATEGORY: table.loc[wanted].to_numpy()})
    rows.to_csv(text, index=False, lineterminator="\n")
    write_text(path, text.getvalue())


def names_products(path):
    """Whether the first column of a CSV is `_id`; not where there is no file, which its reader will tell."""
    if not path.is_file():
        return False
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        return file.readline().split(",")[0].strip() == ID


def read_products(path, columns):
    """DataFrame of str of a CSV with `_id` and these columns, and `part` where it has one.

    Raises SubmissionError naming file and row for an id that is empty or stands there twice, and for an empty
    category_id that is asked for.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # UnicodeDecodeError and ParserError too
        raise SubmissionError(f"{path} cannot be read ({error})") from error
    missing = [name for name in (ID, *columns) if name not in table]
    if missing:
        raise SubmissionError(f"{path} has no column {missing[0]}; it has {', '.join(map(str, table.columns))}")
    empty, double = (table[[ID, *columns]] == "").any(axis=1), table[ID].duplicated()
    odd = np.flatnonzero(empty | double)
    if len(odd):
        row = table.iloc[odd[0]]
        raise SubmissionError(f"{path}, row {odd[0] + 2}: " + (
            f"a field of {ID}, {', '.join(columns)} is empty" if empty.iloc[odd[0]] else
            f"the {ID} {row[ID]!r} stands there already"))
    return table


def matched(path, submission, truth_path, truth):
    """The categories of `submission` in the order of `truth`, both DataFrames of read_products, str [n].

    Raises SubmissionError unless both name the same products, one at least.
    """
    _check_same(((path, pd.Index(submission[ID])), (truth_path, pd.Index(truth[ID]))))
    if not len(truth):
        raise SubmissionError(f"{truth_path} has no product")
    return submission.set_index(ID)[CATEGORY].loc[truth[ID]].to_numpy(object)


def _check_same(sides, what=""):
    """sides: ((name, pd.Index), (name, pd.Index)). what: begins the message."""
    for who, own in sides:
        if not own.is_unique:
            raise SubmissionError(f"{what}{who} names the product {own[own.duplicated()][0]!r} twice")
    for (who, own), (_, its) in (sides, sides[::-1]):
        more = own[~own.isin(its)]
        if len(more):
            raise SubmissionError(f"{what}{sides[0][0]} and {sides[1][0]} must name the same products: "
                                  f"{len(more)} are only in {who}, the first {more[0]!r}")
