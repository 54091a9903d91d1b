/* Steps of one field that do what steps should not do. */

#include <pthread.h>
#include <time.h>

typedef const double *const *In;
typedef double *const *Out;

/* x + 1; where x > 3 it fails with code 7, where x > 30 it stops the program. */
int failing(In x, In theta, double t, Out y, void *context) {
    (void)theta, (void)t, (void)context;
    y[0][0] = x[0][0] + 1;
    return x[0][0] > 30 ? -5 : x[0][0] > 3 ? 7 : 0;
}

/* Remembers the state before. */
int remembering(In x, In theta, double t, Out y, void *context) {
    (void)theta, (void)t, (void)context;
    static double before = 0;
    y[0][0] = x[0][0] + 1e-3 * before;
    before = x[0][0];
    return 0;
}

/* Another number every time. */
int random_step(In x, In theta, double t, Out y, void *context) {
    (void)theta, (void)t, (void)context;
    static int calls = 0;
    y[0][0] = x[0][0] + 1e-12 * ++calls;
    return 0;
}

/* Work space that threads share. */
int sharing(In x, In theta, double t, Out y, void *context) {
    (void)theta, (void)t, (void)context;
    static volatile double space;
    space = x[0][0];
    for (struct timespec pause = {0, 200000}; pause.tv_nsec; pause.tv_nsec = 0) nanosleep(&pause, 0);
    y[0][0] = space + 1;
    return 0;
}

/* The most threads that were in here at once, as the new state. */
int counting(In x, In theta, double t, Out y, void *context) {
    (void)theta, (void)t, (void)context, (void)x;
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static int inside = 0, most = 0;
    struct timespec pause = {0, 2000000};
    pthread_mutex_lock(&lock);
    if (++inside > most) most = inside;
    pthread_mutex_unlock(&lock);
    nanosleep(&pause, 0);
    pthread_mutex_lock(&lock);
    inside--;
    y[0][0] = most;
    pthread_mutex_unlock(&lock);
    return 0;
}

/* Changes its argument. */
int spoiling(In x, In theta, double t, Out y, void *context) {
    (void)theta, (void)t, (void)context;
    y[0][0] = x[0][0] + 1;
    ((double *)x[0])[0] *= 2;
    return 0;
}

/* Adds to its result. */
int adding(In x, In theta, double t, Out y, void *context) {
    (void)theta, (void)t, (void)context;
    y[0][0] += x[0][0];
    return 0;
}

/* A tangent that stops the program. */
int failing_tangent(In x, In theta, double t, In dx, In dtheta, Out dy, void *context) {
    (void)x, (void)theta, (void)t, (void)dx, (void)dtheta, (void)dy, (void)context;
    return -6;
}

/* Where x > 30 it stops the program at once, elsewhere it fails after a while. */
int failing_late(In x, In theta, double t, Out y, void *context) {
    (void)theta, (void)t, (void)context;
    y[0][0] = x[0][0];
    if (x[0][0] > 30) return -5;
    struct timespec pause = {0, 20000000};
    nanosleep(&pause, 0);
    return 7;
}
