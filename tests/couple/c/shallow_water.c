/* The shallow water of tests/benchmarks/c, with its adjoint by hand, and here a tangent linear too,
   as assim calls them: fields h, u and v of n x n values, no parameters. */

#include "../../benchmarks/c/shallow_water.c"

typedef const double *const *In;
typedef double *const *Out;

static void put_field(int n, const double *from, double *to) {
    for (int j = 0; j < n; j++) {
        double *a = to + (size_t)j * (n + 2) + 1;
        memcpy(a, from + (size_t)j * n, n * sizeof(double));
        ends(n, a);
    }
}

static void take_field(int n, const double *from, double *to) {
    for (int j = 0; j < n; j++)
        memcpy(to + (size_t)j * n, from + (size_t)j * (n + 2) + 1, n * sizeof(double));
}

static void put_all(const Model *m, In from, double *to) {
    for (int k = 0; k < 3; k++) put_field(m->n, from[k], to + k * field(m));
}

static void take_all(const Model *m, const double *from, Out to) {
    for (int k = 0; k < 3; k++) take_field(m->n, from + k * field(m), to[k]);
}

/* Work space of one thread. */
typedef struct {
    double *x, *d, *y, *s[3], *k[4], *dk[4], *moving;
    Work w, dw;
} Space;

static Space *space_of(const Model *m) {
    static _Thread_local Space space;
    static _Thread_local double *memory;
    static _Thread_local size_t size;
    size_t n = whole(m), f = field(m);
    if (size != n) {
        free(memory);
        memory = calloc(15 * n + 18 * f, sizeof(double));
        size = memory ? n : 0;
    }
    if (!memory) return NULL;
    double *next = memory, **states[] = {&space.x, &space.d, &space.y, &space.moving};
    for (int i = 0; i < 4; i++, next += n) *states[i] = next;
    for (int i = 0; i < 3; i++, next += n) space.s[i] = next;
    for (int i = 0; i < 4; i++, next += n) space.k[i] = next;
    for (int i = 0; i < 4; i++, next += n) space.dk[i] = next;
    Work *works[] = {&space.w, &space.dw};
    for (int i = 0; i < 2; i++) {
        Work *w = works[i];
        double **each[] = {&w->U, &w->V, &w->q, &w->B, &w->bU, &w->bV, &w->bD, &w->bZ, &w->bB};
        for (int j = 0; j < 9; j++, next += f) *each[j] = next;
    }
    return &space;
}

/* dw = the derivative of `diagnose` at x, with w of x, along d. */
static void diagnose_tangent(const Model *m, const double *x, const double *d, const Work *w, Work *dw) {
    const int n = m->n;
    const double r = 1 / m->dx, g = m->gravity;
    for (int j = 0; j < n; j++) {
        const double *h = read_row(m, x, j), *hs = read_row(m, x, j - 1);
        const double *u = read_row(m, x + field(m), j);
        const double *v = read_row(m, x + 2 * field(m), j), *vn = read_row(m, x + 2 * field(m), j + 1);
        const double *dh = read_row(m, d, j), *dhs = read_row(m, d, j - 1);
        const double *du = read_row(m, d + field(m), j), *dus = read_row(m, d + field(m), j - 1);
        const double *dv = read_row(m, d + 2 * field(m), j), *dvn = read_row(m, d + 2 * field(m), j + 1);
        const double *q = row(m, w->q, j);
        double *dU = row(m, dw->U, j), *dV = row(m, dw->V, j), *dq = row(m, dw->q, j), *dB = row(m, dw->B, j);
        for (int i = 0; i < n; i++) {
            double hu = 0.5 * (h[i] + h[i - 1]), hus = 0.5 * (hs[i] + hs[i - 1]);
            double dhu = 0.5 * (dh[i] + dh[i - 1]), dhus = 0.5 * (dhs[i] + dhs[i - 1]);
            dU[i] = du[i] * hu + u[i] * dhu;
            dV[i] = 0.5 * (dv[i] * (h[i] + hs[i]) + v[i] * (dh[i] + dhs[i]));
            dq[i] = (r * (dv[i] - dv[i - 1] - du[i] + dus[i]) - q[i] * 0.5 * (dhu + dhus)) / (0.5 * (hu + hus));
            dB[i] = g * dh[i] + 0.5 * (u[i] * du[i] + u[i + 1] * du[i + 1] + v[i] * dv[i] + vn[i] * dvn[i]);
        }
        ends(n, dU);
        ends(n, dV);
        ends(n, dq);
        ends(n, dB);
    }
}

/* k = J(x) d, of the tendency. */
static void tendency_tangent(const Model *m, const double *x, const double *d, double *k, Work *w, Work *dw) {
    const int n = m->n;
    const double r = 1 / m->dx, nu = m->viscosity * r * r, drag = m->drag;
    diagnose(m, x, w);
    diagnose_tangent(m, x, d, w, dw);
    for (int j = 0; j < n; j++) {
        const double *h = read_row(m, x, j), *dh = read_row(m, d, j);
        const double *du = read_row(m, d + field(m), j), *dun = read_row(m, d + field(m), j + 1);
        const double *dus = read_row(m, d + field(m), j - 1);
        const double *dv = read_row(m, d + 2 * field(m), j), *dvn = read_row(m, d + 2 * field(m), j + 1);
        const double *dvs = read_row(m, d + 2 * field(m), j - 1);
        const double *U = row(m, w->U, j), *Us = row(m, w->U, j - 1), *dU = row(m, dw->U, j), *dUs = row(m, dw->U, j - 1);
        const double *V = row(m, w->V, j), *Vn = row(m, w->V, j + 1), *dV = row(m, dw->V, j), *dVn = row(m, dw->V, j + 1);
        const double *q = row(m, w->q, j), *qn = row(m, w->q, j + 1), *dq = row(m, dw->q, j), *dqn = row(m, dw->q, j + 1);
        const double *dB = row(m, dw->B, j), *dBs = row(m, dw->B, j - 1);
        double *kh = row(m, k, j), *ku = row(m, k + field(m), j), *kv = row(m, k + 2 * field(m), j);
        const double wind = m->wind[j];
        for (int i = 0; i < n; i++) {
            double hu = 0.5 * (h[i] + h[i - 1]), dhu = 0.5 * (dh[i] + dh[i - 1]);
            kh[i] = -r * (dU[i + 1] - dU[i] + dVn[i] - dV[i]);
            ku[i] = 0.25 * (dq[i] * (V[i] + V[i - 1]) + q[i] * (dV[i] + dV[i - 1]) + dqn[i] * (Vn[i] + Vn[i - 1])
                  + qn[i] * (dVn[i] + dVn[i - 1])) - r * (dB[i] - dB[i - 1])
                  + nu * (du[i + 1] + du[i - 1] + dun[i] + dus[i] - 4 * du[i]) - drag * du[i]
                  - wind * dhu / (hu * hu);
            kv[i] = -0.25 * (dq[i] * (U[i] + Us[i]) + q[i] * (dU[i] + dUs[i]) + dq[i + 1] * (U[i + 1] + Us[i + 1])
                  + q[i + 1] * (dU[i + 1] + dUs[i + 1])) - r * (dB[i] - dBs[i])
                  + nu * (dv[i + 1] + dv[i - 1] + dvn[i] + dvs[i] - 4 * dv[i]) - drag * dv[i];
        }
        ends(n, kh);
        ends(n, ku);
        ends(n, kv);
    }
}

int water_step(In x, In theta, double t, Out y, const Model *m) {
    (void)theta, (void)t;
    Space *a = space_of(m);
    if (!a) return 1;
    put_all(m, x, a->x);
    step(m, a->x, a->y, a->s, a->k, &a->w);
    take_all(m, a->y, y);
    return 0;
}

int water_tangent(In x, In theta, double t, In dx, In dtheta, Out dy, const Model *m) {
    (void)theta, (void)t, (void)dtheta;
    const double dt = m->dt, weights[] = {1, 2, 2, 1};
    Space *a = space_of(m);
    if (!a) return 1;
    put_all(m, x, a->x);
    put_all(m, dx, a->d);
    step(m, a->x, NULL, a->s, a->k, &a->w);
    tendency_tangent(m, a->x, a->d, a->dk[0], &a->w, &a->dw);
    for (int i = 0; i < 3; i++) {
        moved(m, a->d, a->dk[i], i < 2 ? dt / 2 : dt, a->moving);
        tendency_tangent(m, a->s[i], a->moving, a->dk[i + 1], &a->w, &a->dw);
    }
    for (int i = 0; i < 4; i++) moved(m, a->d, a->dk[i], dt / 6 * weights[i], a->d);
    take_all(m, a->d, dy);
    return 0;
}

int water_adjoint(In x, In theta, double t, In by, Out bx, Out btheta, const Model *m) {
    (void)theta, (void)t, (void)btheta;
    Space *a = space_of(m);
    if (!a) return 1;
    put_all(m, x, a->x);
    put_all(m, by, a->d);
    back(m, a->x, a->d, a->s, a->k, &a->w);
    take_all(m, a->d, bx);
    return 0;
}
