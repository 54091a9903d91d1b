/* libassim: each call is handed to assim.host.calls in an interpreter that lives in the process. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <dlfcn.h>
#include <fenv.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "assim.h"

#ifndef ASSIM_PYTHON /* the interpreter of the environment that this was built in */
#error "compile with -DASSIM_PYTHON=\"/path/to/python\" -DASSIM_LIBPYTHON=\"libpython3.x.so\""
#endif

enum { WORDS = 8192, MOST = 15 };

static char words[WORDS] = "";
static PyObject *call = NULL; /* assim.host.calls.call */
static double last = NAN, quiet_until = -INFINITY, time_of_state = NAN;

/* Programs may trap floating-point exceptions, round otherwise or flush to zero: what JAX computes
   must not be reached by that. */
#define ENTER \
  fenv_t own; \
  feholdexcept(&own); \
  fesetenv(FE_DFL_ENV)
#define LEAVE(code) \
  do { \
    int left = (code); \
    fesetenv(&own); \
    return left; \
  } while (0)

static int fail(int code, const char *what, const char *which) {
  snprintf(words, WORDS, what, which);
  return code;
}

static int refuse(const char *function, const char *argument) {
  snprintf(words, WORDS, "%s: %s is a null pointer", function, argument);
  return ASSIM_MISUSE;
}

/* Keeps the words of what Python has raised. */
static int raised(int code, const char *during) {
  PyObject *type = NULL, *value = NULL, *trace = NULL, *text = NULL;
  const char *said = NULL;
  PyErr_Fetch(&type, &value, &trace);
  PyErr_NormalizeException(&type, &value, &trace);
  if (value && (text = PyObject_Str(value))) said = PyUnicode_AsUTF8(text);
  snprintf(words, WORDS, "%s: %s: %s", during,
           type ? ((PyTypeObject *)type)->tp_name : "no reason given", said ? said : "");
  PyErr_Clear();
  Py_XDECREF(text);
  Py_XDECREF(type);
  Py_XDECREF(value);
  Py_XDECREF(trace);
  return code;
}

static const char *interpreter(void) {
  const char *named = getenv("ASSIM_PYTHON");
  return named && *named ? named : ASSIM_PYTHON;
}

/* An interpreter, where the process has none. */
static int begin_python(void) {
  const char *python = interpreter();
  if (access(python, X_OK))
    return fail(ASSIM_NO_PYTHON,
                "there is no Python at %s: set ASSIM_PYTHON to the python of the environment in "
                "which assim is installed, or build libassim anew (assim coupling build)", python);
  dlopen(ASSIM_LIBPYTHON, RTLD_NOW | RTLD_GLOBAL); /* extension modules look for its names */
  PyConfig config;
  PyConfig_InitPythonConfig(&config);
  config.install_signal_handlers = 0;
  config.parse_argv = 0;
  PyStatus status = PyConfig_SetBytesString(&config, &config.program_name, python);
  if (!PyStatus_Exception(status))
    status = PyConfig_SetBytesString(&config, &config.executable, python);
  if (!PyStatus_Exception(status)) status = Py_InitializeFromConfig(&config);
  PyConfig_Clear(&config);
  if (PyStatus_Exception(status)) {
    snprintf(words, WORDS, "Python at %s does not start: %s", python,
             status.err_msg ? status.err_msg : "no reason given");
    return ASSIM_NO_PYTHON;
  }
  PyEval_SaveThread();
  return 0;
}

/* The interpreter with assim in it. */
static int begin(void) {
  int code;
  if (call) return 0;
  if (!Py_IsInitialized() && (code = begin_python())) return code;
  PyGILState_STATE lock = PyGILState_Ensure();
  PyObject *module = PyImport_ImportModule("assim.host.calls");
  if (module) call = PyObject_GetAttrString(module, "call");
  code = 0;
  if (!call) {
    char during[WORDS / 2];
    snprintf(during, sizeof during,
             "Python at %s (libassim is of Python %s) cannot import assim", interpreter(),
             PY_VERSION);
    code = raised(ASSIM_NO_PYTHON, during);
  }
  Py_XDECREF(module);
  PyGILState_Release(lock);
  return code;
}

/* One call: its arguments go, and come back as (code, words, action, time, quiet until). */
static int ask(PyObject *arguments, int *action) {
  int code = ASSIM_INTERNAL, next = 0;
  const char *said = "";
  PyObject *answer = arguments ? PyObject_CallObject(call, arguments) : NULL;
  if (answer && PyArg_ParseTuple(answer, "isidd", &code, &said, &next, &time_of_state,
                                 &quiet_until)) {
    if (code) snprintf(words, WORDS, "%s", said);
    if (action) *action = next;
  } else {
    code = raised(ASSIM_INTERNAL, "internal error, please report");
  }
  Py_XDECREF(answer);
  Py_XDECREF(arguments);
  return code;
}

#define ASK(code, action, ...) \
  do { \
    PyGILState_STATE lock = PyGILState_Ensure(); \
    code = ask(Py_BuildValue(__VA_ARGS__), action); \
    PyGILState_Release(lock); \
  } while (0)

static int before(const char *function) {
  if (call) return 0;
  return fail(ASSIM_MISUSE, "%s: assim_initialise comes first", function);
}

int assim_parallel(int number, int processes, assim_broadcast_function broadcast, void *context) {
  if (processes > 1 && !broadcast) return refuse("assim_parallel", "broadcast");
  ENTER;
  int code = begin();
  if (!code)
    ASK(code, NULL, "(siiKK)", "parallel", number, processes,
        (unsigned long long)(uintptr_t)broadcast, (unsigned long long)(uintptr_t)context);
  LEAVE(code);
}

int assim_initialise(const char *case_file, const char *out, int flags) {
  if (!case_file) return refuse("assim_initialise", "case_file");
  ENTER;
  int code = begin();
  if (!code) ASK(code, NULL, "(szzi)", "initialise", case_file, out, flags);
  LEAVE(code);
}

static PyObject *numbers(int rank, const int64_t *values) {
  if (!values) Py_RETURN_NONE;
  PyObject *list = PyTuple_New(rank);
  for (int k = 0; list && k < rank; ++k)
    PyTuple_SET_ITEM(list, k, PyLong_FromLongLong(values[k]));
  return list;
}

static int array(const char *function, const char *what, const char *name, void *values,
                 int bytes, int rank, const int64_t *extents, const int64_t *strides,
                 const int64_t *first) {
  if (!name) return refuse(function, "name");
  if (!values) return refuse(function, name);
  if (rank < 0 || rank > MOST) return fail(ASSIM_MISUSE, "%s: an array of 0 to 15 dimensions", name);
  if (rank && !extents) return refuse(function, "extents");
  ENTER;
  int code = before(function);
  if (!code) {
    static const int64_t none[1] = {0};
    PyGILState_STATE lock = PyGILState_Ensure();
    code = ask(Py_BuildValue("(ssKiNNN)", what, name, (unsigned long long)(uintptr_t)values, bytes,
                             numbers(rank, rank ? extents : none), numbers(rank, strides),
                             numbers(rank, first)), NULL);
    PyGILState_Release(lock);
  }
  LEAVE(code);
}

int assim_register(const char *name, void *values, int bytes, int rank, const int64_t *extents,
                   const int64_t *strides) {
  return array("assim_register", "register", name, values, bytes, rank, extents, strides, NULL);
}

int assim_register_part(const char *name, void *values, int bytes, int rank, const int64_t *extents,
                        const int64_t *strides, const int64_t *first) {
  if (rank > 0 && !first) return refuse("assim_register_part", "first");
  return array("assim_register_part", "register", name, values, bytes, rank, extents, strides,
               first);
}

int assim_spread(const char *name, void *values, int bytes, int rank, const int64_t *extents,
                 const int64_t *strides) {
  return array("assim_spread", "spread", name, values, bytes, rank, extents, strides, NULL);
}

int assim_register_model(assim_step_function step, assim_tangent_function tangent,
                         assim_adjoint_function adjoint, void *context, int thread_safe) {
  if (!step) return refuse("assim_register_model", "step");
  ENTER;
  int code = before("assim_register_model");
  if (!code)
    ASK(code, NULL, "(sKKKKi)", "register_model", (unsigned long long)(uintptr_t)step,
        (unsigned long long)(uintptr_t)tangent, (unsigned long long)(uintptr_t)adjoint,
        (unsigned long long)(uintptr_t)context, thread_safe);
  LEAVE(code);
}

/* Whatever the answer, the clock is where the call or a restart has put it. */
static int move(const char *function, const char *what, double t, int *action) {
  if (!action) return refuse(function, "action");
  *action = ASSIM_NOTHING;
  ENTER;
  int code = before(function);
  if (!code) {
    ASK(code, action, "(sdd)", what, t, last);
    if (!code) last = *action == ASSIM_RESTART ? time_of_state : t;
  }
  LEAVE(code);
}

int assim_start(double t, int *action) { return move("assim_start", "start", t, action); }

int assim_advance(double t, int *action) {
  if (action && t > last && t < quiet_until) { /* a NaN is handed on, and refused */
    last = t;
    *action = ASSIM_NOTHING;
    return 0;
  }
  return move("assim_advance", "advance", t, action);
}

int assim_time(double *t) {
  if (!t) return refuse("assim_time", "t");
  *t = time_of_state;
  return isnan(time_of_state)
             ? fail(ASSIM_MISUSE, "%s: nothing has been written into the arrays yet", "assim_time")
             : 0;
}

const char *assim_last_error(void) { return words; }

int assim_finalise(void) {
  ENTER;
  int code = before("assim_finalise");
  if (!code) ASK(code, NULL, "(s)", "finalise");
  last = time_of_state = NAN;
  LEAVE(code);
}
