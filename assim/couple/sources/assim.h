/* assim inside a program that keeps its own time loop.

   In this order: in a parallel program assim_parallel, then assim_initialise, assim_register for
   every array, assim_register_model where the window's model is to be the program's own, assim_start
   before the first step, assim_advance at the end of every step, assim_finalise.

   Every function returns 0 for success and nothing else does; assim_last_error has the words.
   Calls come from one thread at a time. One engine lives in a process at a time. */

#ifndef ASSIM_H
#define ASSIM_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What is returned: 0, the exit codes of `assim run`, and three more. */
enum {
  ASSIM_SUCCESS = 0,
  ASSIM_INTERNAL = 1,
  ASSIM_CASE = 2,          /* the case file */
  ASSIM_DATA = 3,          /* input data or the directory of results */
  ASSIM_NOT_CONVERGED = 4, /* the arrays are as they were */
  ASSIM_NON_FINITE = 5,    /* the arrays are as they were */
  ASSIM_INCOMPLETE = 7,    /* the analysis stands, something after it failed */
  ASSIM_INTERRUPTED = 130,
  ASSIM_MISUSE = 20,       /* calls out of order, null pointers, names and shapes of no field */
  ASSIM_NO_PYTHON = 21,    /* no Python, or no assim in it */
  ASSIM_STOPPED = 22       /* a function of the program's own model stopped the analysis */
};

/* What the program does next; ASSIM_NOTHING where what is returned is not ASSIM_SUCCESS. */
enum {
  ASSIM_NOTHING = 0,  /* go on: nothing was due */
  ASSIM_ANALYSED = 1, /* go on: the arrays hold the analysis at the time of the call */
  ASSIM_RESTART = 2,  /* set the clock to assim_time: the arrays hold the analysis there */
  ASSIM_STOP = 3      /* as ASSIM_ANALYSED, and it was the last */
};

/* Flags of assim_initialise, to be added. */
enum {
  ASSIM_AT_START = 1, /* write analyses at the start of their windows, which are then run again */
  ASSIM_RESUME = 2,   /* go on with a cycle whose windows are in the directory already */
  ASSIM_PRINT = 4     /* print what `assim run` prints */
};

/* A model's step, y = f(x, theta, t); its tangent, dy = f'(x, theta, t) (dx, dtheta); its adjoint,
   (bx, btheta) = f'(x, theta, t)^T by. Arrays are lists of pointers, one a field or parameter in the
   order of the case, contiguous and in C's order. 0 is success; above 0 the values cannot be used,
   as of a model that blew up; below 0 the analysis stops. */
typedef int (*assim_step_function)(const double *const *x, const double *const *theta, double t,
                                   double *const *y, void *context);
typedef int (*assim_tangent_function)(const double *const *x, const double *const *theta, double t,
                                      const double *const *dx, const double *const *dtheta,
                                      double *const *dy, void *context);
typedef int (*assim_adjoint_function)(const double *const *x, const double *const *theta, double t,
                                      const double *const *by, double *const *bx,
                                      double *const *btheta, void *context);

/* Gives all processes of a parallel program the bytes that `root` has, as MPI_Bcast does: at most
   2^30 of them, which an int counts. 0 is success. */
typedef int (*assim_broadcast_function)(void *buffer, int64_t bytes, int root, void *context);

/* In a parallel program, called first by every process: its number, from 0, how many there are, and
   how they reach one another. Every process then makes the same calls; process 0 analyses. */
int assim_parallel(int number, int processes, assim_broadcast_function broadcast, void *context);

/* Reads the case; `out` is the directory of the results, or NULL for the case's own. */
int assim_initialise(const char *case_file, const char *out, int flags);

/* Lets analyses of a field or parameter be written into an array in place. `bytes` of a number are 8
   or 4; `strides` are in numbers, or NULL for an array that is contiguous and in C's order. */
int assim_register(const char *name, void *values, int bytes, int rank, const int64_t *extents,
                   const int64_t *strides);

/* The same of an array that is one process's part of a field, without its halo: `first` is the index
   of its first element in the whole, along every dimension, from 0. */
int assim_register_part(const char *name, void *values, int bytes, int rank, const int64_t *extents,
                        const int64_t *strides, const int64_t *first);

/* Makes the program's own step the window's model. `tangent` and `adjoint` may be NULL where the
   method needs none; `thread_safe` says whether threads may be in them together. */
int assim_register_model(assim_step_function step, assim_tangent_function tangent,
                         assim_adjoint_function adjoint, void *context, int thread_safe);

/* Poses the problem: the arrays hold the state at model time t, the window's start. */
int assim_start(double t, int *action);

/* Tells that the program has stepped to model time t. */
int assim_advance(double t, int *action);

/* Model time of what was last written into the arrays. */
int assim_time(double *t);

/* Standard deviations of the last analysis, at the time at which it was written. */
int assim_spread(const char *name, void *values, int bytes, int rank, const int64_t *extents,
                 const int64_t *strides);

/* The words of the last error, or "". */
const char *assim_last_error(void);

/* Ends the run: what is written stands. Another one may be initialised. */
int assim_finalise(void);

#ifdef __cplusplus
}
#endif

#endif
