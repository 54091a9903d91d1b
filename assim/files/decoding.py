"""From the variables of a file as they are stored to those that are read.

What is missing is found, attributes are checked, and packed numbers are unpacked, when values are
read: a fault of a variable that nobody reads harms nobody.
"""

from collections.abc import Callable, Mapping
from typing import Any

import netCDF4
import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from assim.files.attributes import check_packing, checked_texts, without_faults
from assim.files.errors import DataError
from assim.files.missing import NOTES, Rules, marked
from assim.files.valid import with_valid_time

_PACKING = ("scale_factor", "add_offset", "_FillValue", "missing_value", "_Unsigned")
Read = Callable[[np.ndarray], np.ndarray]


def decoded(dataset: xr.Dataset, called: str, stored: netCDF4.Dataset | None = None) -> xr.Dataset:
    """The dataset with missing numbers as NaN, packed ones unpacked, and characters as text.

    Times stay numbers, and that of forecasts is added by `with_valid_time`. The dataset may be
    decoded by xarray: it is then only searched for what xarray does not know to be missing.

    Args:
        dataset: as xarray reads it with `decode_cf=False`, or of any origin.
        called: what messages call it.
        stored: the file that it is of, which knows whether variables are prefilled.
    """
    data_dims = {dim for v in dataset.variables.values() if v.dtype.kind in "iuf" for dim in v.dims}
    variables, unreadable = {}, {}
    for name, variable in dataset.variables.items():
        prefilled = "source" in variable.encoding  # as xarray has what is from a file
        if stored is not None:
            prefilled = stored[str(name)].get_fill_value() is not None
        try:
            variables[name] = _decoded(variable, f"{called}: {name}", prefilled, data_dims)
        except DataError as error:
            unreadable[name] = _unreadable(variable, error)
    # The positions along a dimension would be read for their index; these have none.
    positions = {name: unreadable.pop(name) for name in dataset.dims if name in unreadable}
    new = xr.Dataset({**variables, **unreadable}, attrs=without_faults(dataset.attrs))
    new = new.set_coords([name for name in dataset.coords if name not in positions])
    new = xr.decode_cf(new, mask_and_scale=False, decode_times=False, decode_timedelta=False)
    return with_valid_time(new.assign_coords(xr.Coordinates(positions, indexes={})))


def _decoded(
    variable: xr.Variable, where: str, prefilled: bool, data_dims: set[Any]
) -> xr.Variable:
    attributes = checked_texts(variable.attrs, where)
    kept = {k: v for k, v in attributes.items() if k not in _PACKING}
    encoding = {**variable.encoding, **{k: attributes[k] for k in _PACKING if k in attributes}}
    if variable.dtype.kind == "S" and variable.dims and variable.dims[-1] in data_dims:
        return _lazy(variable, attributes, variable.encoding, _as_text)
    if variable.dtype.kind not in "iuf":
        return xr.Variable(variable.dims, variable.data, attributes, variable.encoding)
    check_packing(encoding, where)
    packing = {k: v for k, v in encoding.items() if k in _PACKING}
    is_decoded = not any(k in attributes for k in _PACKING)
    dtype = _stored_type(variable, is_decoded)
    rules = Rules({**attributes, **packing}, dtype, prefilled, where)
    encoding |= {NOTES: rules.notes} if rules.notes else {}

    def read(values: np.ndarray) -> np.ndarray:
        number = values if is_decoded else _unpacked(values, packing)
        raw = _packed(values, packing, dtype) if is_decoded else values
        real = number if number.dtype.kind == "f" else number.astype(float)
        return marked(real, rules.reasons(raw, real))

    if rules.tests or packing:
        return _lazy(variable, _flags_as_read(kept, packing, dtype), encoding, read)
    return xr.Variable(variable.dims, variable.data, attributes, variable.encoding)


def _flags_as_read(
    attributes: Mapping[str, Any], packing: Mapping[str, Any], dtype: np.dtype
) -> dict[str, Any]:
    """Attributes whose flags, stored in the variable's type, are counted as its numbers are read.

    So -128 of bytes without sign is 128, as `_Unsigned` has it of the numbers.
    """
    new, bound = dict(attributes), 2 ** (8 * dtype.itemsize)
    sign = {("true", "i"): 1, ("false", "u"): -1}.get(
        (str(packing.get("_Unsigned")), dtype.kind), 0
    )
    for name in {"flag_values", "flag_masks"} & set(new) if sign else ():
        flags = np.asarray(new[name])
        if flags.dtype.kind in "iu":
            whole = flags.astype(np.int64)
            other = whole < 0 if sign > 0 else whole >= bound // 2
            new[name] = np.where(other, whole + sign * bound, whole)
    return new


def _stored_type(variable: xr.Variable, is_decoded: bool) -> np.dtype:
    """Type of the numbers in the file; of those that xarray has decoded, it says so."""
    kind = variable.encoding.get("dtype") if is_decoded else None
    return kind if isinstance(kind, np.dtype) and kind.kind in "iuf" else variable.dtype


def _unpacked(stored: np.ndarray, packing: Mapping[str, Any]) -> np.ndarray:
    """Stored numbers as xarray unpacks them."""
    if not packing:
        return stored
    fill = {k: v for k, v in packing.items() if k != "missing_value"}
    variable = xr.Variable([f"d{i}" for i in range(stored.ndim)], stored, fill)
    return np.asarray(xr.conventions.decode_cf_variable("v", variable, decode_times=False).values)


def _packed(values: np.ndarray, packing: Mapping[str, Any], dtype: np.dtype) -> np.ndarray:
    """Unpacked numbers as they were stored; those that are NaN stay so."""
    scale, offset = packing.get("scale_factor"), packing.get("add_offset")
    if scale is None and offset is None:
        return values
    stored = (values - (0 if offset is None else offset)) / (1 if scale is None else scale)
    return np.round(stored) if dtype.kind in "iu" else stored


def _as_text(characters: np.ndarray) -> np.ndarray:
    return np.char.decode(characters, "latin-1")


def _unreadable(variable: xr.Variable, error: DataError) -> xr.Variable:
    """A variable whose values cannot be read, for the error."""

    def read(values: np.ndarray) -> np.ndarray:
        if not values.size:
            return values
        raise error

    return _lazy(variable, without_faults(variable.attrs), {}, read)


def _lazy(
    variable: xr.Variable, attributes: Mapping[str, Any], encoding: Mapping[str, Any], read: Read
) -> xr.Variable:
    data = indexing.LazilyIndexedArray(_Values(variable, read))
    return xr.Variable(variable.dims, data, attributes, encoding)


class _Values(BackendArray):
    """What a function makes of the values of a variable, when they are asked for."""

    def __init__(self, variable: xr.Variable, read: Read) -> None:
        self.variable, self.read, self.shape = variable, read, variable.shape
        self.dtype = read(np.empty((0,) * max(variable.ndim, 1), variable.dtype)).dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        outer = indexing.IndexingSupport.OUTER
        return np.asarray(indexing.explicit_indexing_adapter(key, self.shape, outer, self._chunk))

    def _chunk(self, key: tuple[Any, ...]) -> np.ndarray:
        return self.read(np.asarray(self.variable[key].values))
