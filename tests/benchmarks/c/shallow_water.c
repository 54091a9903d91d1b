/* The scheme of models/shallow_water.py on a periodic square of n x n cells, and its adjoint by hand.

   A field is an array of n rows of n + 2 values, the first and last of which repeat those at the
   other end. A state is h, u and v, one after the other. */

#include <stdlib.h>
#include <string.h>

typedef struct {
    int n;
    double dx, dt, gravity, drag, viscosity;
    const double *coriolis; /* at corners, a row */
    const double *wind;     /* stress over density, a row */
} Model;

typedef struct {
    double *U, *V, *q, *B;             /* fluxes, potential vorticity, Bernoulli function */
    double *bU, *bV, *bD, *bZ, *bB;    /* adjoints; of q by way of its thickness and vorticity */
} Work;

static size_t field(const Model *m) { return (size_t)m->n * (m->n + 2); }
static size_t whole(const Model *m) { return 3 * field(m); }
static double *row(const Model *m, double *a, int j) {
    int n = m->n;
    return a + (size_t)((j + n) % n) * (n + 2) + 1;
}
static const double *read_row(const Model *m, const double *a, int j) {
    return row(m, (double *)a, j);
}
static void ends(int n, double *a) {
    a[-1] = a[n - 1];
    a[n] = a[0];
}

static void diagnose(const Model *m, const double *x, Work *w) {
    const int n = m->n;
    const double r = 1 / m->dx, g = m->gravity;
    const double *hh = x, *uu = x + field(m), *vv = x + 2 * field(m);
    for (int j = 0; j < n; j++) {
        const double *h = read_row(m, hh, j), *hs = read_row(m, hh, j - 1);
        const double *u = read_row(m, uu, j), *us = read_row(m, uu, j - 1);
        const double *v = read_row(m, vv, j), *vn = read_row(m, vv, j + 1);
        double *U = row(m, w->U, j), *V = row(m, w->V, j), *q = row(m, w->q, j);
        double *B = row(m, w->B, j);
        const double f = m->coriolis[j];
        for (int i = 0; i < n; i++) {
            double hu = 0.5 * (h[i] + h[i - 1]), hus = 0.5 * (hs[i] + hs[i - 1]);
            U[i] = u[i] * hu;
            V[i] = v[i] * 0.5 * (h[i] + hs[i]);
            q[i] = (f + r * (v[i] - v[i - 1] - u[i] + us[i])) / (0.5 * (hu + hus));
            B[i] = g * h[i] + 0.25 * (u[i] * u[i] + u[i + 1] * u[i + 1] + v[i] * v[i] + vn[i] * vn[i]);
        }
        ends(n, U);
        ends(n, V);
        ends(n, q);
        ends(n, B);
    }
}

static void tendency(const Model *m, const double *x, double *dx, Work *w) {
    const int n = m->n;
    const double r = 1 / m->dx, nu = m->viscosity * r * r, drag = m->drag;
    const double *hh = x, *uu = x + field(m), *vv = x + 2 * field(m);
    diagnose(m, x, w);
    for (int j = 0; j < n; j++) {
        const double *h = read_row(m, hh, j);
        const double *u = read_row(m, uu, j), *un = read_row(m, uu, j + 1), *us = read_row(m, uu, j - 1);
        const double *v = read_row(m, vv, j), *vn = read_row(m, vv, j + 1), *vs = read_row(m, vv, j - 1);
        const double *U = row(m, w->U, j), *Us = row(m, w->U, j - 1);
        const double *V = row(m, w->V, j), *Vn = row(m, w->V, j + 1);
        const double *q = row(m, w->q, j), *qn = row(m, w->q, j + 1);
        const double *B = row(m, w->B, j), *Bs = row(m, w->B, j - 1);
        double *dh = row(m, dx, j), *du = row(m, dx + field(m), j), *dv = row(m, dx + 2 * field(m), j);
        const double wind = m->wind[j];
        for (int i = 0; i < n; i++) {
            dh[i] = -r * (U[i + 1] - U[i] + Vn[i] - V[i]);
            du[i] = 0.25 * (q[i] * (V[i] + V[i - 1]) + qn[i] * (Vn[i] + Vn[i - 1])) - r * (B[i] - B[i - 1])
                  + nu * (u[i + 1] + u[i - 1] + un[i] + us[i] - 4 * u[i]) - drag * u[i]
                  + wind / (0.5 * (h[i] + h[i - 1]));
            dv[i] = -0.25 * (q[i] * (U[i] + Us[i]) + q[i + 1] * (U[i + 1] + Us[i + 1])) - r * (B[i] - Bs[i])
                  + nu * (v[i + 1] + v[i - 1] + vn[i] + vs[i] - 4 * v[i]) - drag * v[i];
        }
        ends(n, dh);
        ends(n, du);
        ends(n, dv);
    }
}

/* b = J(x)^T a */
static void adjoint(const Model *m, const double *x, const double *a, double *b, Work *w) {
    const int n = m->n;
    const double r = 1 / m->dx, nu = m->viscosity * r * r, drag = m->drag, g = m->gravity;
    const double *hh = x, *uu = x + field(m), *vv = x + 2 * field(m);
    const double *aah = a, *aau = a + field(m), *aav = a + 2 * field(m);
    diagnose(m, x, w);
    for (int j = 0; j < n; j++) {
        const double *h = read_row(m, hh, j), *hs = read_row(m, hh, j - 1);
        const double *ah = read_row(m, aah, j), *ahs = read_row(m, aah, j - 1);
        const double *au = read_row(m, aau, j), *aus = read_row(m, aau, j - 1);
        const double *av = read_row(m, aav, j), *avn = read_row(m, aav, j + 1);
        const double *U = row(m, w->U, j), *Us = row(m, w->U, j - 1), *V = row(m, w->V, j);
        const double *q = row(m, w->q, j), *qn = row(m, w->q, j + 1);
        double *bU = row(m, w->bU, j), *bV = row(m, w->bV, j), *bB = row(m, w->bB, j);
        double *bD = row(m, w->bD, j), *bZ = row(m, w->bZ, j);
        for (int i = 0; i < n; i++) {
            double aq = 0.25 * ((au[i] + aus[i]) * (V[i] + V[i - 1]) - (av[i] + av[i - 1]) * (U[i] + Us[i]));
            double thickness = 0.25 * (h[i] + h[i - 1] + hs[i] + hs[i - 1]);
            bU[i] = r * (ah[i] - ah[i - 1])
                  - 0.25 * (q[i] * (av[i] + av[i - 1]) + qn[i] * (avn[i] + avn[i - 1]));
            bV[i] = r * (ah[i] - ahs[i])
                  + 0.25 * (q[i] * (au[i] + aus[i]) + q[i + 1] * (au[i + 1] + aus[i + 1]));
            bB[i] = r * (au[i + 1] - au[i] + avn[i] - av[i]);
            bD[i] = -aq * q[i] / thickness;
            bZ[i] = aq / thickness;
        }
        ends(n, bU);
        ends(n, bV);
        ends(n, bB);
        ends(n, bD);
        ends(n, bZ);
    }
    for (int j = 0; j < n; j++) {
        const double *h = read_row(m, hh, j), *hs = read_row(m, hh, j - 1);
        const double *u = read_row(m, uu, j), *v = read_row(m, vv, j), *vn = read_row(m, vv, j + 1);
        const double *au = read_row(m, aau, j), *aun = read_row(m, aau, j + 1), *aus = read_row(m, aau, j - 1);
        const double *av = read_row(m, aav, j), *avn = read_row(m, aav, j + 1), *avs = read_row(m, aav, j - 1);
        const double *bU = row(m, w->bU, j), *bV = row(m, w->bV, j), *bVn = row(m, w->bV, j + 1);
        const double *bB = row(m, w->bB, j), *bBs = row(m, w->bB, j - 1);
        const double *bD = row(m, w->bD, j), *bDn = row(m, w->bD, j + 1);
        const double *bZ = row(m, w->bZ, j), *bZn = row(m, w->bZ, j + 1);
        double *bh = row(m, b, j), *bu = row(m, b + field(m), j), *bv = row(m, b + 2 * field(m), j);
        const double wind = m->wind[j];
        for (int i = 0; i < n; i++) {
            double hu = 0.5 * (h[i] + h[i - 1]), hue = 0.5 * (h[i + 1] + h[i]);
            double bhu = u[i] * bU[i] + 0.5 * (bD[i] + bDn[i]) - au[i] * wind / (hu * hu);
            double bhue = u[i + 1] * bU[i + 1] + 0.5 * (bD[i + 1] + bDn[i + 1]) - au[i + 1] * wind / (hue * hue);
            bh[i] = g * bB[i] + 0.5 * (bhu + bhue) + 0.5 * (v[i] * bV[i] + vn[i] * bVn[i]);
            bu[i] = hu * bU[i] + 0.5 * u[i] * (bB[i] + bB[i - 1]) + r * (bZn[i] - bZ[i])
                  + nu * (au[i + 1] + au[i - 1] + aun[i] + aus[i] - 4 * au[i]) - drag * au[i];
            bv[i] = 0.5 * (h[i] + hs[i]) * bV[i] + 0.5 * v[i] * (bB[i] + bBs[i]) + r * (bZ[i] - bZ[i + 1])
                  + nu * (av[i + 1] + av[i - 1] + avn[i] + avs[i] - 4 * av[i]) - drag * av[i];
        }
        ends(n, bh);
        ends(n, bu);
        ends(n, bv);
    }
}

static void moved(const Model *m, const double *x, const double *k, double by, double *y) {
    const size_t size = whole(m);
    for (size_t i = 0; i < size; i++) y[i] = x[i] + by * k[i];
}

/* y = x after one RK4 step; keeps the states of the stages in s[0..2] where they are asked for. */
static void step(const Model *m, const double *x, double *y, double **s, double **k, Work *w) {
    const double dt = m->dt;
    const size_t size = whole(m);
    tendency(m, x, k[0], w);
    moved(m, x, k[0], dt / 2, s[0]);
    tendency(m, s[0], k[1], w);
    moved(m, x, k[1], dt / 2, s[1]);
    tendency(m, s[1], k[2], w);
    moved(m, x, k[2], dt, s[2]);
    if (!y) return;
    tendency(m, s[2], k[3], w);
    for (size_t i = 0; i < size; i++)
        y[i] = x[i] + dt / 6 * (k[0][i] + 2 * (k[1][i] + k[2][i]) + k[3][i]);
}

static void back(const Model *m, const double *x, double *b, double **s, double **k, Work *w) {
    const double dt = m->dt;
    const size_t size = whole(m);
    double *given = k[0], *y4 = k[1], *y3 = k[2], *y = k[3];
    step(m, x, NULL, s, k, w);
    for (size_t i = 0; i < size; i++) given[i] = dt / 6 * b[i];
    adjoint(m, s[2], given, y4, w);
    for (size_t i = 0; i < size; i++) given[i] = dt / 3 * b[i] + dt * y4[i];
    adjoint(m, s[1], given, y3, w);
    for (size_t i = 0; i < size; i++) given[i] = dt / 3 * b[i] + dt / 2 * y3[i];
    adjoint(m, s[0], given, y, w);
    for (size_t i = 0; i < size; i++) {
        given[i] = dt / 6 * b[i] + dt / 2 * y[i];
        b[i] += y4[i] + y3[i] + y[i];
    }
    adjoint(m, x, given, y, w);
    for (size_t i = 0; i < size; i++) b[i] += y[i];
}

static void put(const Model *m, const double *from, double *to) {
    const int n = m->n;
    for (int j = 0; j < 3 * n; j++) {
        double *a = to + (size_t)j * (n + 2) + 1;
        memcpy(a, from + (size_t)j * n, n * sizeof(double));
        ends(n, a);
    }
}

static void take(const Model *m, const double *from, double *to) {
    const int n = m->n;
    for (int j = 0; j < 3 * n; j++) memcpy(to + (size_t)j * n, from + (size_t)j * (n + 2) + 1, n * sizeof(double));
}

/* States x_1 ... x_steps from `start`; `end` is the last, or, where it holds an adjoint of that,
   `gradient` is the adjoint of the start. Plain arrays of 3 n n values. */
void shallow_water(const Model *m, const double *start, int steps, double *end, double *gradient) {
    const size_t size = whole(m), states = gradient ? (size_t)steps + 1 : 2;
    double *memory = malloc((states + 8) * size * sizeof(double));
    double *fields = malloc(9 * field(m) * sizeof(double));
    double *path = memory, *s[3], *k[4], *b = memory + (states + 7) * size;
    Work w;
    double **each[] = {&w.U, &w.V, &w.q, &w.B, &w.bU, &w.bV, &w.bD, &w.bZ, &w.bB};
    for (int i = 0; i < 3; i++) s[i] = memory + (states + i) * size;
    for (int i = 0; i < 4; i++) k[i] = memory + (states + 3 + i) * size;
    for (int i = 0; i < 9; i++) *each[i] = fields + i * field(m);
    put(m, start, path);
    for (int t = 0; t < steps; t++) {
        size_t from = gradient ? (size_t)t : (size_t)(t % 2), to = gradient ? (size_t)t + 1 : (size_t)((t + 1) % 2);
        step(m, path + from * size, path + to * size, s, k, &w);
    }
    if (gradient) {
        put(m, end, b);
        for (int t = steps - 1; t >= 0; t--) back(m, path + (size_t)t * size, b, s, k, &w);
        take(m, b, gradient);
    } else {
        take(m, path + (size_t)(steps % 2) * size, end);
    }
    free(memory);
    free(fields);
}
