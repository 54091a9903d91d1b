/* Lorenz-96 by RK4, as models/lorenz96.py, with tangent and adjoint by hand, as assim calls them. */

#include <stdlib.h>
#include <string.h>

#ifndef SIGN /* what a test plants a wrong sign in */
#define SIGN(a) (a)
#endif

typedef const double *const *In;
typedef double *const *Out;
typedef struct {
    int n;
    double dt;
} Model;

static int at(int n, int i) { return (i + n) % n; }

static void tendency(int n, const double *x, double forcing, double *dx) {
    dx[0] = (x[1] - x[n - 2]) * x[n - 1] - x[0] + forcing;
    dx[1] = (x[2] - x[n - 1]) * x[0] - x[1] + forcing;
    for (int i = 2; i < n - 1; i++) dx[i] = (x[i + 1] - x[i - 2]) * x[i - 1] - x[i] + forcing;
    dx[n - 1] = (x[0] - x[n - 3]) * x[n - 2] - x[n - 1] + forcing;
}

/* J(x) v + by, of the tendency. */
static void tangent_of(int n, const double *x, const double *v, double by, double *dv) {
    for (int e = 0; e < 3; e++) {
        int i = at(n, e - 1), p = at(n, i + 1), l = at(n, i - 1), ll = at(n, i - 2);
        dv[i] = (v[p] - v[ll]) * x[l] + (x[p] - x[ll]) * v[l] - v[i] + by;
    }
    for (int i = 2; i < n - 1; i++)
        dv[i] = (v[i + 1] - v[i - 2]) * x[i - 1] + (x[i + 1] - x[i - 2]) * v[i - 1] - v[i] + by;
}

/* b = J(x)^T a */
static void adjoint_of(int n, const double *x, const double *a, double *b) {
    for (int i = 2; i < n - 2; i++)
        b[i] = a[i - 1] * x[i - 2] - a[i + 2] * x[i + 1] + a[i + 1] * (x[i + 2] - x[i - 1]) - a[i];
    for (int e = 0; e < 4; e++) {
        int i = at(n, e - 2), p = at(n, i + 1), pp = at(n, i + 2), l = at(n, i - 1), ll = at(n, i - 2);
        b[i] = a[l] * x[ll] - SIGN(a[pp]) * x[p] + a[p] * (x[pp] - x[l]) - a[i];
    }
}

static void moved(int n, const double *x, const double *k, double by, double *y) {
    for (int i = 0; i < n; i++) y[i] = x[i] + by * k[i];
}

/* s: states of the second, third and fourth stage; k: tendencies of the first three. */
static void stages(int n, const double *x, double f, double dt, double **s, double **k) {
    tendency(n, x, f, k[0]);
    moved(n, x, k[0], dt / 2, s[0]);
    tendency(n, s[0], f, k[1]);
    moved(n, x, k[1], dt / 2, s[1]);
    tendency(n, s[1], f, k[2]);
    moved(n, x, k[2], dt, s[2]);
}

/* Work space of `count` states, kept by each thread for its next call; 0 where there is no memory. */
static int room(int n, double **a, int count) {
    static _Thread_local double *memory;
    static _Thread_local size_t size;
    size_t needed = (size_t)count * n;
    if (needed > size) {
        free(memory);
        memory = malloc(needed * sizeof(double));
        size = memory ? needed : 0;
    }
    for (int i = 0; memory && i < count; i++) a[i] = memory + (size_t)i * n;
    return memory != NULL;
}

int lorenz96_step(In x, In theta, double t, Out y, const Model *m) {
    (void)t;
    int n = m->n;
    double *a[7], **s = a, **k = a + 3, dt = m->dt;
    if (!room(n, a, 7)) return 1;
    stages(n, x[0], theta[0][0], dt, s, k);
    tendency(n, s[2], theta[0][0], k[3]);
    for (int i = 0; i < n; i++)
        y[0][i] = x[0][i] + dt / 6 * (k[0][i] + 2 * (k[1][i] + k[2][i]) + k[3][i]);
    return 0;
}

int lorenz96_tangent(In x, In theta, double t, In dx, In dtheta, Out dy, const Model *m) {
    (void)t;
    int n = m->n;
    const double dt = m->dt, by = dtheta[0][0], *v = dx[0];
    double *a[11], **s = a, **k = a + 3, **d = a + 6;
    if (!room(n, a, 11)) return 1;
    double *moving = a[10];
    stages(n, x[0], theta[0][0], dt, s, k);
    tangent_of(n, x[0], v, by, d[0]);
    for (int stage = 0; stage < 3; stage++) {
        moved(n, v, d[stage], stage < 2 ? dt / 2 : dt, moving);
        tangent_of(n, s[stage], moving, by, d[stage + 1]);
    }
    for (int i = 0; i < n; i++)
        dy[0][i] = v[i] + dt / 6 * (d[0][i] + 2 * (d[1][i] + d[2][i]) + d[3][i]);
    return 0;
}

int lorenz96_adjoint(In x, In theta, double t, In by, Out bx, Out btheta, const Model *m) {
    (void)t;
    int n = m->n;
    double *a[7], **s = a, **k = a + 3, *b = bx[0], dt = m->dt, total = 0;
    if (!room(n, a, 7)) return 1;
    double *given = k[0], *y4 = k[1], *y3 = k[2], *y = k[3];
    stages(n, x[0], theta[0][0], dt, s, k);
    memcpy(b, by[0], n * sizeof(double));
    for (int i = 0; i < n; i++) total += given[i] = dt / 6 * b[i];
    adjoint_of(n, s[2], given, y4);
    for (int i = 0; i < n; i++) total += given[i] = dt / 3 * b[i] + dt * y4[i];
    adjoint_of(n, s[1], given, y3);
    for (int i = 0; i < n; i++) total += given[i] = dt / 3 * b[i] + dt / 2 * y3[i];
    adjoint_of(n, s[0], given, y);
    for (int i = 0; i < n; i++) {
        total += given[i] = dt / 6 * b[i] + dt / 2 * y[i];
        b[i] += y4[i] + y3[i] + y[i];
    }
    adjoint_of(n, x[0], given, y);
    for (int i = 0; i < n; i++) b[i] += y[i];
    btheta[0][0] = total;
    return 0;
}
