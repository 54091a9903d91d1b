/* Arrays as Fortran hands them to C: their address, type, extents and strides. */

#include <ISO_Fortran_binding.h>
#include <stdint.h>

#include "assim.h"

typedef int (*Call)(const char *, void *, int, int, const int64_t *, const int64_t *);

static int bytes(const CFI_cdesc_t *array) {
  int number = array->type == CFI_type_double || array->type == CFI_type_float;
  return number ? (int)array->elem_len : 0;
}

/* The first index of Fortran is the last one of C. */
static int handed_over(const CFI_cdesc_t *array, int64_t *extents, int64_t *strides) {
  int rank = array->rank;
  for (int k = 0; k < rank; ++k) {
    extents[rank - 1 - k] = array->dim[k].extent;
    strides[rank - 1 - k] = array->dim[k].sm / (int64_t)array->elem_len;
  }
  return rank;
}

static int handed(Call call, const char *name, const CFI_cdesc_t *array) {
  int64_t extents[CFI_MAX_RANK], strides[CFI_MAX_RANK];
  int rank = handed_over(array, extents, strides);
  return call(name, array->base_addr, bytes(array), rank, extents, strides);
}

int assim_register_descriptor(const char *name, const CFI_cdesc_t *array) {
  return handed(assim_register, name, array);
}

/* `first` is in the order of Fortran, from 1. */
int assim_register_part_descriptor(const char *name, const CFI_cdesc_t *array, const int64_t *first) {
  int64_t reversed[CFI_MAX_RANK], extents[CFI_MAX_RANK], strides[CFI_MAX_RANK];
  int rank = handed_over(array, extents, strides);
  for (int k = 0; k < rank; ++k) reversed[rank - 1 - k] = first[k] - 1;
  return assim_register_part(name, array->base_addr, bytes(array), rank, extents, strides, reversed);
}

int assim_spread_descriptor(const char *name, const CFI_cdesc_t *array) {
  return handed(assim_spread, name, array);
}
