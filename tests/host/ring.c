/* Lorenz-96 on a ring that the processes of MPI share, with its tangent and adjoint: the sites of each
   lie between two of its left neighbour and one of its right.

   ring CASE OUT; with one more word the processes register parts that overlap. */

#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assim.h"

enum { N = 12 };
static const double DT = 0.05, B[4] = {0, 0.5, 0.5, 1}, C[4] = {1, 2, 2, 1};
static int me, all, left, right;
static int64_t n, first;

static void with_halo(const double *x, double *h) {
  memcpy(h + 2, x, n * sizeof *x);
  MPI_Sendrecv(x + n - 2, 2, MPI_DOUBLE, right, 1, h, 2, MPI_DOUBLE, left, 1, MPI_COMM_WORLD,
               MPI_STATUS_IGNORE);
  MPI_Sendrecv(x, 1, MPI_DOUBLE, left, 2, h + n + 2, 1, MPI_DOUBLE, right, 2, MPI_COMM_WORLD,
               MPI_STATUS_IGNORE);
}

static void from_halo(double *h, double *x) { /* its adjoint */
  double own[2], one;
  MPI_Sendrecv(h, 2, MPI_DOUBLE, left, 3, own, 2, MPI_DOUBLE, right, 3, MPI_COMM_WORLD,
               MPI_STATUS_IGNORE);
  MPI_Sendrecv(h + n + 2, 1, MPI_DOUBLE, right, 4, &one, 1, MPI_DOUBLE, left, 4, MPI_COMM_WORLD,
               MPI_STATUS_IGNORE);
  memcpy(x, h + 2, n * sizeof *x);
  x[n - 2] += own[0];
  x[n - 1] += own[1];
  x[0] += one;
}

static void tendency(const double *x, double f, double *d) {
  double h[N + 3];
  with_halo(x, h);
  for (int i = 0; i < n; ++i) d[i] = (h[i + 3] - h[i]) * h[i + 1] - h[i + 2] + f;
}

static void tendency_tangent(const double *x, const double *v, double g, double *d) {
  double h[N + 3], u[N + 3];
  with_halo(x, h);
  with_halo(v, u);
  for (int i = 0; i < n; ++i)
    d[i] = (h[i + 3] - h[i]) * u[i + 1] + (u[i + 3] - u[i]) * h[i + 1] - u[i + 2] + g;
}

static void tendency_adjoint(const double *x, const double *w, double *v) {
  double h[N + 3], u[N + 3] = {0};
  with_halo(x, h);
  for (int i = 0; i < n; ++i) {
    u[i + 3] += h[i + 1] * w[i];
    u[i] -= h[i + 1] * w[i];
    u[i + 1] += (h[i + 3] - h[i]) * w[i];
    u[i + 2] -= w[i];
  }
  from_halo(u, v);
}

static void stages_of(double *x, double f, double stages[4][N]) {
  double k[N] = {0}, s[N] = {0};
  for (int j = 0; j < 4; ++j) {
    for (int i = 0; i < n; ++i) stages[j][i] = x[i] + B[j] * DT * k[i];
    tendency(stages[j], f, k);
    for (int i = 0; i < n; ++i) s[i] += C[j] * DT / 6 * k[i];
  }
  for (int i = 0; i < n; ++i) x[i] += s[i];
}

/* The whole field, on every process, of what each of them has. */
static void give(const double *own, double *out) {
  MPI_Allgather(own, n, MPI_DOUBLE, out, n, MPI_DOUBLE, MPI_COMM_WORLD);
}

static int step(const double *const *x, const double *const *theta, double t, double *const *y,
                void *context) {
  double own[N], stages[4][N];
  memcpy(own, x[0] + first, n * sizeof *own);
  stages_of(own, *theta[0], stages);
  give(own, y[0]);
  return 0 * (int)t + (context != NULL);
}

static int tangent(const double *const *x, const double *const *theta, double t,
                   const double *const *dx, const double *const *dtheta, double *const *dy,
                   void *context) {
  double own[N], stages[4][N], k[N] = {0}, s[N], v[N];
  memcpy(own, x[0] + first, n * sizeof *own);
  memcpy(s, dx[0] + first, n * sizeof *s);
  stages_of(own, *theta[0], stages);
  memcpy(own, s, n * sizeof *own);
  for (int j = 0; j < 4; ++j) {
    for (int i = 0; i < n; ++i) v[i] = own[i] + B[j] * DT * k[i];
    tendency_tangent(stages[j], v, *dtheta[0], k);
    for (int i = 0; i < n; ++i) s[i] += C[j] * DT / 6 * k[i];
  }
  give(s, dy[0]);
  return 0 * (int)t + (context != NULL);
}

static int adjoint(const double *const *x, const double *const *theta, double t,
                   const double *const *by, double *const *bx, double *const *btheta,
                   void *context) {
  double own[N], stages[4][N], k[N] = {0}, s[N], v[N], w[N], g = 0;
  memcpy(own, x[0] + first, n * sizeof *own);
  memcpy(w, by[0] + first, n * sizeof *w);
  memcpy(s, w, n * sizeof *s);
  stages_of(own, *theta[0], stages);
  for (int j = 3; j >= 0; --j) {
    for (int i = 0; i < n; ++i) g += (k[i] += C[j] * DT / 6 * w[i]);
    tendency_adjoint(stages[j], k, v);
    for (int i = 0; i < n; ++i) {
      s[i] += v[i];
      k[i] = B[j] * DT * v[i];
    }
  }
  give(s, bx[0]);
  MPI_Allreduce(&g, btheta[0], 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
  return 0 * (int)t + (context != NULL);
}

static int broadcast(void *buffer, int64_t bytes, int root, void *context) {
  (void)context;
  return MPI_Bcast(buffer, (int)bytes, MPI_BYTE, root, MPI_COMM_WORLD);
}

static void check(int code) {
  if (!code) return;
  fprintf(stderr, "process %d: %d: %s\n", me, code, assim_last_error());
  MPI_Abort(MPI_COMM_WORLD, code);
}

int main(int count, char **words) {
  int threads, action;
  MPI_Init_thread(&count, &words, MPI_THREAD_SERIALIZED, &threads);
  MPI_Comm_rank(MPI_COMM_WORLD, &me);
  MPI_Comm_size(MPI_COMM_WORLD, &all);
  if (count < 3 || threads < MPI_THREAD_SERIALIZED) return 9;
  left = (me + all - 1) % all;
  right = (me + 1) % all;
  n = N / all;
  first = me * n;
  double x[N], stages[4][N], f = 8, whole[N], stdev;
  for (int i = 0; i < n; ++i) x[i] = f + sin((double)(first + i));
  for (int k = 0; k < 40; ++k) stages_of(x, f, stages);
  check(assim_parallel(me, all, broadcast, NULL));
  check(assim_initialise(words[1], words[2], 0));
  int64_t starts = count > 3 ? 0 : first; /* where the test asks for parts that overlap */
  check(assim_register_part("x", x, 8, 1, &n, NULL, &starts));
  check(assim_register("F", &f, 8, 0, NULL, NULL));
  check(assim_register_model(step, tangent, adjoint, NULL, 0));
  check(assim_start(0, &action));
  for (int k = 1; action != ASSIM_STOP; ++k) {
    stages_of(x, f, stages);
    check(assim_advance(k * DT, &action));
  }
  check(assim_spread("F", &stdev, 8, 0, NULL, NULL));
  MPI_Gather(x, n, MPI_DOUBLE, whole, n, MPI_DOUBLE, 0, MPI_COMM_WORLD);
  check(assim_finalise());
  if (me == 0) {
    printf("%.17g %.17g", f, stdev);
    for (int i = 0; i < N; ++i) printf(" %.17g", whole[i]);
    printf("\n");
  }
  MPI_Finalize();
  return 0;
}
