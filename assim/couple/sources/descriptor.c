/* Arrays as Fortran hands them to C: their address, type, extents and strides. */

#include <ISO_Fortran_binding.h>
#include <stdint.h>

#include "assim.h"

typedef int (*Call)(const char *, void *, int, int, const int64_t *, const int64_t *);

static int handed(Call call, const char *name, const CFI_cdesc_t *array) {
  int64_t extents[CFI_MAX_RANK], strides[CFI_MAX_RANK];
  int rank = array->rank, number = array->type == CFI_type_double || array->type == CFI_type_float;
  int64_t size = (int64_t)array->elem_len;
  for (int k = 0; k < rank; ++k) { /* the first index of Fortran is the last one of C */
    extents[rank - 1 - k] = array->dim[k].extent;
    strides[rank - 1 - k] = array->dim[k].sm / size;
  }
  return call(name, array->base_addr, number ? (int)size : 0, rank, extents, strides);
}

int assim_register_descriptor(const char *name, const CFI_cdesc_t *array) {
  return handed(assim_register, name, array);
}

int assim_spread_descriptor(const char *name, const CFI_cdesc_t *array) {
  return handed(assim_spread, name, array);
}
