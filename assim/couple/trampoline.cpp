/* The one FFI handler through which XLA calls every foreign model: plain C functions of a table.

   A model is an entry of the table; its number is an attribute of the call, so that compiled
   programs hold no addresses. The functions are those of docs/how-to/couple.md:

     step    (x, theta, t, y, context)
     tangent (x, theta, t, dx, dtheta, dy, context)
     adjoint (x, theta, t, by, bx, btheta, context)

   each array a list of pointers to double, one a field or parameter. 0 is success; above 0 the
   values are not usable, and NaN is returned for them; below 0 the whole program stops, with
   words that begin as those of StoppedError in errors.py. */

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

using In = const double *const *;
using Out = double *const *;
using Step = int (*)(In, In, double, Out, void *);
using Tangent = int (*)(In, In, double, In, In, Out, void *);
using Adjoint = int (*)(In, In, double, In, Out, Out, void *);

struct Model {
  Step step;
  Tangent tangent;
  Adjoint adjoint;
  void *context;
  bool parallel; /* whether several threads may be in it at once */
  std::mutex alone;
  std::atomic<int64_t> failures{0}, code{0};
  std::string name;
  std::mutex telling;
  std::string words; /* why it stops, where it says so */
};

constexpr int64_t kMost = 1 << 20; /* pages of the table that nobody uses take no memory */
Model *models[kMost];
std::atomic<int64_t> number{0};

/* What a call is, as Python packs it. */
enum Plan { kModel, kOperation, kFields, kParameters, kMembers, kShared };
enum Operation { kStep, kTangent, kAdjoint };

struct Buffer {
  double *values;
  int64_t size;   /* of one member */
  int64_t stride; /* from one member to the next: 0 where all share it */
};

constexpr double kWorth = 20e-6; /* s of work from which further threads are worth their call */

/* What a call returned below 0, and the words of the model, if it gave some. */
struct Stop {
  int code = 0;
  std::string words;
};

/* Room for as many as a call mostly has, on the stack: fetching memory costs more than a call. */
template <typename T>
class Few {
 public:
  explicit Few(size_t size) : many_(size > kFew ? size : 0) {}
  T *data() { return many_.empty() ? few_ : many_.data(); }

 private:
  static constexpr size_t kFew = 32;
  T few_[kFew];
  std::vector<T> many_;
};

struct Call {
  Model *model;
  int64_t operation, fields, parameters;
  size_t given, size; /* how many of the buffers are arguments, and how many there are */
  const Buffer *buffers;

  /* One member; what the model returned. */
  int run(int64_t member, Stop &stop) const {
    Few<double *> pointers(size);
    double **p = pointers.data();
    for (size_t k = 0; k < size; k++) p[k] = buffers[k].values + member * buffers[k].stride;
    In x = p, theta = p + fields, third = theta + parameters + 1, fourth = third + fields;
    const double t = *theta[parameters];
    Out y = p + given;
    std::unique_lock<std::mutex> lock(model->alone, std::defer_lock);
    if (!model->parallel) lock.lock();
    const int code = called(x, theta, t, third, fourth, y);
    if (code < 0) {
      std::lock_guard<std::mutex> telling(model->telling);
      stop = {code, model->words};
    }
    return code;
  }

  int called(In x, In theta, double t, In third, In fourth, Out y) const {
    void *context = model->context;
    switch (operation) {
      case kStep: return model->step(x, theta, t, y, context);
      case kTangent: return model->tangent(x, theta, t, third, fourth, y, context);
      default: return model->adjoint(x, theta, t, third, y, y + fields, context);
    }
  }

  /* One member, with NaN for what failed; false where the program is to stop. */
  bool settled(int64_t member, Stop &stop) const {
    const int code = run(member, stop);
    if (code == 0) return true;
    if (code < 0) return false;
    model->code.store(code);
    model->failures.fetch_add(1);
    for (size_t k = given; k < size; k++)
      std::fill_n(buffers[k].values + member * buffers[k].stride, buffers[k].size,
                  std::numeric_limits<double>::quiet_NaN());
    return true;
  }
};

/* Members left to do, which threads take one by one. */
struct Work {
  std::vector<Buffer> buffers;
  Call call;
  int64_t members;
  std::atomic<int64_t> next, done;
  std::atomic<bool> fine{true};
  Stop stop; /* of the first member that stopped */
  std::mutex mutex;
  std::condition_variable finished;

  void take() {
    int64_t member;
    while ((member = next.fetch_add(1)) < members) {
      Stop own;
      if (fine.load() && !call.settled(member, own)) {
        std::lock_guard<std::mutex> lock(mutex);
        if (fine.exchange(false)) stop = own;
      }
      if (done.fetch_add(1) + 1 == members) {
        std::lock_guard<std::mutex> lock(mutex);
        finished.notify_all();
      }
    }
  }
};

bool all_members(const Call &call, int64_t members, ffi::ThreadPool &pool, Stop &stop) {
  const auto begin = std::chrono::steady_clock::now();
  if (!call.settled(0, stop)) return false;
  const std::chrono::duration<double> first = std::chrono::steady_clock::now() - begin;
  int64_t helpers = 0;
  if (call.model->parallel && first.count() * (members - 1) > kWorth)
    helpers = std::min<int64_t>(pool.num_threads(), members - 1) - 1;
  if (helpers < 1) {
    for (int64_t member = 1; member < members; member++)
      if (!call.settled(member, stop)) return false;
    return true;
  }
  /* Helpers that start late find nothing left: nobody waits for a thread that has not begun. */
  auto work = std::make_shared<Work>();
  work->buffers.assign(call.buffers, call.buffers + call.size);
  work->call = call;
  work->call.buffers = work->buffers.data();
  work->members = members;
  work->next = 1;
  work->done = 1;
  for (int64_t k = 0; k < helpers; k++) pool.Schedule([work] { work->take(); });
  work->take();
  std::unique_lock<std::mutex> lock(work->mutex);
  work->finished.wait(lock, [&] { return work->done.load() == work->members; });
  stop = work->stop;
  return work->fine.load();
}

std::string words_of(const Call &call, const Stop &stop) {
  static const char *const operations[] = {"step", "tangent", "adjoint"};
  const std::string returned = "returned " + std::to_string(stop.code);
  const std::string why = std::string("the ") + operations[call.operation] + " " + returned;
  return "StoppedError: " + call.model->name + ": " + (stop.words.empty() ? why : stop.words);
}

Buffer buffer(const ffi::AnyBuffer &given, int64_t members, bool shared) {
  const int64_t size = static_cast<int64_t>(given.element_count());
  const int64_t own = shared ? size : size / members;
  return {static_cast<double *>(given.untyped_data()), own, shared ? 0 : own};
}

ffi::Error dispatch(ffi::ThreadPool pool, ffi::Span<const int64_t> plan, ffi::RemainingArgs args,
                    ffi::RemainingRets rets) {
  if (plan.size() != kShared + args.size() || plan[kModel] < 0 || plan[kModel] >= number.load())
    return ffi::Error(ffi::ErrorCode::kInvalidArgument, "no such foreign model");
  const size_t given = args.size(), size = given + rets.size();
  const int64_t members = std::max<int64_t>(plan[kMembers], 1);
  Few<Buffer> buffers(size);
  Buffer *next = buffers.data();
  for (size_t k = 0; k < given; k++) {
    const bool shared = plan[kMembers] == 0 || plan[kShared + k] != 0;
    *next++ = buffer(*args.get<ffi::AnyBuffer>(k), members, shared);
  }
  for (size_t k = given; k < size; k++)
    *next++ = buffer(**rets.get<ffi::AnyBuffer>(k - given), members, false);
  const Call call{models[plan[kModel]], plan[kOperation], plan[kFields], plan[kParameters],
                  given,                size,             buffers.data()};
  Stop stop;
  const bool fine = members == 1 ? call.settled(0, stop) : all_members(call, members, pool, stop);
  if (fine) return ffi::Error::Success();
  return ffi::Error(ffi::ErrorCode::kAborted, words_of(call, stop));
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    assim_call, dispatch,
    ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<ffi::Span<const int64_t>>("plan").RemainingArgs()
        .RemainingRets());

extern "C" {

/* The number of an entry, the same for the same model made again; -1 where the table is full. */
int64_t assim_add(const char *name, void *step, void *tangent, void *adjoint, void *context,
                  int parallel) {
  using Key = std::tuple<std::string, void *, void *, void *, void *, bool>;
  static std::mutex adding;
  static std::map<Key, int64_t> known;
  std::lock_guard<std::mutex> lock(adding);
  const Key key{name, step, tangent, adjoint, context, parallel != 0};
  const auto found = known.find(key);
  if (found != known.end()) return found->second;
  const int64_t own = number.load();
  if (own == kMost) return -1;
  Model *model = new Model;
  model->step = reinterpret_cast<Step>(step);
  model->tangent = reinterpret_cast<Tangent>(tangent);
  model->adjoint = reinterpret_cast<Adjoint>(adjoint);
  model->context = context;
  model->parallel = parallel != 0;
  model->name = name;
  models[own] = model;
  known.emplace(key, own);
  number.store(own + 1);
  return own;
}

/* Calls that failed, and the last code above 0. */
int64_t assim_failures(int64_t model, int64_t *code) {
  *code = models[model]->code.load();
  return models[model]->failures.load();
}

/* Why the model is about to stop the program. */
void assim_explain(int64_t model, const char *words) {
  Model *own = models[model];
  std::lock_guard<std::mutex> lock(own->telling);
  own->words = words;
}

}
