/* A program in C that steps Lorenz-96 and holds the engine: host WHAT CASE OUT. */

#define _GNU_SOURCE
#include <assim.h>
#include <fenv.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { N = 12 };
static const double DT = 0.05, F = 8.0;

static void tendency(const double *x, double *dx) {
  for (int i = 0; i < N; ++i)
    dx[i] = (x[(i + 1) % N] - x[(i + N - 2) % N]) * x[(i + N - 1) % N] - x[i] + F;
}

static void step(double *x) {
  double k[4][N], y[N];
  const double to[4] = {0.0, 0.5, 0.5, 1.0};
  for (int s = 0; s < 4; ++s) {
    for (int i = 0; i < N; ++i) y[i] = x[i] + (s ? to[s] * DT * k[s - 1][i] : 0.0);
    tendency(y, k[s]);
  }
  for (int i = 0; i < N; ++i) x[i] += DT * (k[0][i] + 2 * (k[1][i] + k[2][i]) + k[3][i]) / 6;
}

static void tell(const char *what, int code) {
  printf("%s %d %s\n", what, code, code ? assim_last_error() : "");
  fflush(stdout);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double x[2 * N], spread[N];
static const int64_t extents[1] = {N}, strides[1] = {2};

static int begin(const char *case_file, const char *out, int flags) {
  int code = assim_initialise(case_file, out, flags);
  for (int i = 0; i < N; ++i) x[2 * i] = F + sin((double)i);
  double y[N];
  for (int i = 0; i < N; ++i) y[i] = x[2 * i];
  for (int k = 0; k < 40; ++k) step(y);
  for (int i = 0; i < N; ++i) x[2 * i] = y[i];
  if (!code) code = assim_register("x", x, 8, 1, extents, strides);
  return code;
}

/* The time loop, and the time of what the arrays hold at its end. */
static int loop(int die_after) {
  int action = ASSIM_NOTHING, code = assim_start(0.0, &action), analyses = 0;
  double t = 0.0, y[N];
  if (action == ASSIM_RESTART) assim_time(&t);
  while (!code && action != ASSIM_STOP) {
    for (int i = 0; i < N; ++i) y[i] = x[2 * i];
    step(y);
    for (int i = 0; i < N; ++i) x[2 * i] = y[i];
    t += DT;
    code = assim_advance(t, &action);
    if (action != ASSIM_NOTHING) printf("action %d at %.3f\n", action, t);
    if (action == ASSIM_RESTART) assim_time(&t);
    if (action == ASSIM_ANALYSED && ++analyses == die_after) raise(SIGKILL);
  }
  return code;
}

static void show(void) {
  for (int i = 0; i < N; ++i) printf("x %.17g %.17g\n", x[2 * i], spread[i]);
}

static void faults(const char *case_file, const char *out) {
  int action;
  tell("advance-first", assim_advance(DT, &action));
  tell("null-case", assim_initialise(NULL, out, 0));
  tell("no-case", assim_initialise("nowhere/case.toml", out, 0));
  tell("initialise", assim_initialise(case_file, out, 0));
  tell("initialise-twice", assim_initialise(case_file, out, 0));
  tell("null-array", assim_register("x", NULL, 8, 1, extents, NULL));
  tell("null-name", assim_register(NULL, x, 8, 1, extents, NULL));
  tell("null-step", assim_register_model(NULL, NULL, NULL, NULL, 0));
  tell("three-bytes", assim_register("x", x, 3, 1, extents, NULL));
  tell("unregistered", assim_register("height", x, 8, 1, extents, NULL));
  tell("start", assim_start(0.0, &action));
  tell("finalise", assim_finalise());
  tell("spread-late", assim_spread("x", spread, 8, 1, extents, NULL));
  tell("null-action", assim_start(0.0, NULL));
  tell("begin", begin(case_file, out, 0));
  tell("too-early", assim_advance(DT, &action));
  tell("start", assim_start(0.0, &action));
  tell("not-a-number", assim_advance(NAN, &action));
  tell("over", assim_advance(0.45, &action));
  tell("advance", assim_advance(0.4, &action));
}

static void timed(void) {
  int action, number = 1000000, failed = assim_start(0.0, &action);
  double best = 1.0;
  for (int k = 0; k < 5; ++k) {
    double begun = now();
    for (int i = 1; i <= number; ++i)
      failed |= assim_advance(0.3 * (k * number + i) / (5.0 * number), &action) || action;
    best = fmin(best, (now() - begun) / number);
  }
  printf("seconds %d %.3g\n", failed, best);
}

int main(int argc, char **argv) {
  if (argc != 4) return 99;
  const char *what = argv[1];
  if (!strcmp(what, "trap")) feenableexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW);
  if (!strcmp(what, "faults")) {
    faults(argv[2], argv[3]);
    return 0;
  }
  int flags = !strcmp(what, "start") ? ASSIM_AT_START : !strcmp(what, "resume") ? ASSIM_RESUME : 0;
  int code = begin(argv[2], argv[3], flags);
  tell("begin", code);
  if (code) return code;
  if (!strcmp(what, "time")) {
    timed();
    return 0;
  }
  if (!strcmp(what, "trap")) fesetround(FE_UPWARD);
  code = loop(!strcmp(what, "kill") ? 2 : 0);
  tell("loop", code);
  if (code) return code;
  if (!strcmp(what, "trap") && (fegetexcept() != (FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW) ||
                                fegetround() != FE_UPWARD))
    return 98;
  assim_spread("x", spread, 8, 1, extents, NULL);
  show();
  return assim_finalise();
}
