#include "quantize/distillation.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/half.h"
#include "model/weights_pack.h"
#include "quantize/schedule.h"

namespace outrider::quantize {
namespace {

// Tokens that the original is run on at a time, unless a sequence is longer.
constexpr long kPart = 8192;
// Activations of blocks that are kept, in bytes.
constexpr std::size_t kKept = std::size_t{768} << 20;

Result no_memory() { return Result::error(Status::kMemory, "Cannot allocate memory to distil the model"); }

// A table as its file will hold it.
Result rounded(const Linear& from, int bits, long group, const Effort& effort, Linear* to) {
  to->rows = from.rows;
  to->cols = from.cols;
  to->w = floats(from.rows * from.cols);
  if (!to->w) return no_memory();
  const float* const values = from.w.as<float>();
  if (bits == 16) {
    over(from.rows * from.cols, effort, [&](long i) { to->w.as<float>()[i] = f16_to_f32(f32_to_f16(values[i])); });
    return {};
  }
  StoredMatrix matrix;
  if (Result done = round_whole(values, shape_of(from.rows, from.cols, bits, group), effort.threads, &matrix);
      !done.ok()) {
    return done;
  }
  image_of(matrix.shape, matrix.q.data(), matrix.grid, effort.threads, to->w.as<float>());
  return {};
}

}  // namespace

Result Distillation::read_tables(int bits, long group, const std::atomic<bool>* abort) {
  if (Result read = read_linear(files_, sources_.embedding, "embedding", effort_, abort, &teacher_embedding_);
      !read.ok())
    return read;
  if (Result done = rounded(teacher_embedding_, bits, group, effort_, &embedding_); !done.ok()) return done;
  if (sources_.head) {
    if (Result read = read_linear(files_, *sources_.head, "output head", effort_, abort, &teacher_head_); !read.ok())
      return read;
    if (Result done = rounded(teacher_head_, bits, group, effort_, &head_table_); !done.ok()) return done;
  }
  return read_vector(files_, sources_.final_norm, "final norm", &final_norm_);
}

Result Distillation::begin(std::vector<std::int32_t> tokens, std::vector<long> lengths, int table_bits,
                           long table_group, const std::atomic<bool>* abort) {
  if (spec_.logit_soft_cap != 0)
    return Result::error(Status::kUnsupported, "Distillation through a soft cap of logits is not supported");
  if (Result opened = open_files(sources_, &files_); !opened.ok()) return opened;
  tokens_ = std::move(tokens);
  lengths_ = std::move(lengths);
  starts_.resize(lengths_.size());
  std::exclusive_scan(lengths_.begin(), lengths_.end(), starts_.begin(), 0L);
  if (Result read = read_tables(table_bits, table_group, abort); !read.ok()) return read;
  long most = 0, taken = kPart;
  for (const long length : lengths_) {
    if (taken + length > kPart) {
      parts_.emplace_back();
      taken = 0;
    }
    parts_.back().push_back(length);
    taken += length;
    most = std::max(most, taken);
  }
  const long longest = *std::max_element(lengths_.begin(), lengths_.end());
  original_ = std::make_unique<Block>(spec_, std::vector<long>{longest, most - longest}, effort_);
  const auto T = static_cast<long>(tokens_.size());
  teacher_ = floats(T * spec_.hidden);
  if (!original_->allocate() || !teacher_) return no_memory();
  embed(teacher_embedding_, tokens_.data(), T, spec_.embedding_scale, teacher_.as<float>());
  return {};
}

Result Distillation::block(std::array<StoredMatrix, kParts> matrices, const std::vector<std::vector<float>>& norms,
                           const std::atomic<bool>* abort) {
  const long layer = blocks();
  BlockWeights weights;
  if (Result read =
          read_block(files_, spec_, sources_.layers[static_cast<std::size_t>(layer)], layer, effort_, abort, &weights);
      !read.ok()) {
    return read;
  }
  if (!differentiable(spec_, weights))
    return Result::error(Status::kUnsupported, "Distillation of this family is not supported");
  float* x = teacher_.as<float>();
  for (const std::vector<long>& part : parts_) {
    if (abort != nullptr && abort->load()) return Result::error(Status::kAborted, "aborted");
    original_->use(part);
    if (Result done = original_->forward(weights, layer, x); !done.ok()) return done;
    x += original_->tokens() * spec_.hidden;
  }
  auto student = std::make_unique<Student>();
  student->matrices = std::move(matrices);
  std::array<Trainable, kParts> trainables;
  for (std::size_t part = 0; part < trainables.size(); ++part) {
    StoredMatrix& own = student->matrices[part];
    trainables[part] = {&own.shape, own.q.data(), &own.grid};
    student->own.parts[part].bias = weights.parts[part].bias;
  }
  const Norms from = norms_of(weights), to = norms_of(student->own);
  for (std::size_t i = 0; i < to.size(); ++i) *to[i] = norms.empty() ? *from[i] : norms[i];
  student->trainer = std::make_unique<BlockTrainer>(trainables, to, effort_.threads);
  students_.push_back(std::move(student));
  // The first block's memory serves all.
  if (layer == 0) work_ = std::move(weights);
  return {};
}

Result Distillation::ready() {
  norm_rows(teacher_.as<float>(), final_norm_, teacher_.as<float>(), static_cast<long>(tokens_.size()), spec_.hidden,
            spec_.norm_eps, effort_);
  original_.reset();
  const long longest = *std::max_element(lengths_.begin(), lengths_.end());
  gradient_ = std::make_unique<BlockGradient>(spec_, longest, effort_);
  head_ =
      std::make_unique<HeadGradient>(longest, spec_.hidden, spec_.vocab, spec_.norm_eps, spec_.logit_scale, effort_);
  if (!gradient_->allocate(work_) || !head_->allocate()) return no_memory();
  kept_.resize(std::min(students_.size(), kKept / BlockActivations::bytes(spec_, longest)));
  for (std::size_t i = 0; i < kept_.size(); ++i) {
    if (!kept_[i].allocate(spec_, longest)) kept_.resize(i);
  }
  for (std::size_t i = 0; i <= students_.size(); ++i) {
    inputs_.push_back(floats(longest * spec_.hidden));
    if (!inputs_.back()) return no_memory();
  }
  final_norm_state_ = std::make_unique<Adam>(&final_norm_);
  return {};
}

void Distillation::load(Student& student) {
  student.trainer->images(&work_);
  for (std::size_t part = 0; part < work_.parts.size(); ++part) work_.parts[part].bias = student.own.parts[part].bias;
  const Norms from = norms_of(student.own), to = norms_of(work_);
  for (std::size_t i = 0; i < to.size(); ++i) *to[i] = *from[i];
}

Result Distillation::forward(std::size_t sequence, const std::atomic<bool>* abort) {
  const long T = lengths_[sequence];
  embed(embedding_, tokens_.data() + starts_[sequence], T, spec_.embedding_scale, inputs_.front().as<float>());
  for (std::size_t layer = 0; layer < students_.size(); ++layer) {
    if (abort != nullptr && abort->load()) return Result::error(Status::kAborted, "aborted");
    load(*students_[layer]);
    if (Result done = gradient_->forward(work_, static_cast<long>(layer), inputs_[layer].as<float>(), T, kept(layer));
        !done.ok()) {
      return done;
    }
    std::memcpy(inputs_[layer + 1].data(), gradient_->y(), static_cast<std::size_t>(T * spec_.hidden) * sizeof(float));
  }
  return {};
}

Result Distillation::pass(std::size_t sequence, bool train, const std::atomic<bool>* abort, double* loss) {
  if (Result done = forward(sequence, abort); !done.ok()) return done;
  const long T = lengths_[sequence];
  const bool tied = !sources_.head;
  const HeadGradient::Task task{inputs_.back().as<float>(),
                                teacher_.as<float>() + starts_[sequence] * spec_.hidden,
                                T,
                                final_norm_,
                                tied ? embedding_ : head_table_,
                                tied ? teacher_embedding_ : teacher_head_,
                                abort};
  return head_->run(task, train, loss);
}

void Distillation::round_factors(Factors factors) {
  gradient_->round(factors);
  head_->round(factors);
}

Result Distillation::gradients(std::size_t sequence, const std::atomic<bool>* abort, double* loss) {
  round_factors(Factors::kF32);
  return back(sequence, abort, 0, loss);
}

Result Distillation::step(Factors factors, const std::atomic<bool>* abort, double* loss) {
  round_factors(factors);
  const auto count = static_cast<long>(lengths_.size());
  if (t_ % count == 0 || order_.empty())
    order_ = shuffled(lengths_.size(), options_.seed, static_cast<std::uint64_t>(t_ / count));
  const double rate = options_.rate * falling(t_, options_.steps);
  if (Result done = back(order_[static_cast<std::size_t>(t_ % count)], abort, rate, loss); !done.ok()) return done;
  ++t_;
  return {};
}

Result Distillation::back(std::size_t sequence, const std::atomic<bool>* abort, double rate, double* loss) {
  if (Result done = pass(sequence, true, abort, loss); !done.ok()) return done;
  if (!std::isfinite(*loss)) return Result::error(Status::kArgument, "Distillation met numbers that are not finite");
  const float* dy = head_->dx();
  for (std::size_t layer = students_.size(); layer-- > 0;) {
    Student& student = *students_[layer];
    // forward() has left the last block as it is needed here.
    if (layer + 1 < students_.size()) load(student);
    if (BlockActivations* const there = kept(layer)) {
      gradient_->resume(there);
    } else if (layer + 1 < students_.size()) {
      if (Result done =
              gradient_->forward(work_, static_cast<long>(layer), inputs_[layer].as<float>(), lengths_[sequence]);
          !done.ok()) {
        return done;
      }
    }
    if (Result done = gradient_->backward_from(work_, dy, true); !done.ok()) return done;
    dy = gradient_->gradients().x.as<float>();
    student.trainer->collect(gradient_->gradients());
    if (rate > 0) {
      student.trainer->step(gradient_->gradients(), rate, t_ + 1);
    } else {
      const BlockGradients& found = gradient_->gradients();
      student.d_norms = {found.attention_norm, found.mlp_norm, found.q_norm, found.k_norm};
    }
  }
  if (rate > 0) final_norm_state_->step(head_->d_norm().data(), rate, t_ + 1);
  return {};
}

Result Distillation::divergence(std::size_t most, const std::atomic<bool>* abort, double* loss) {
  round_factors(Factors::kF32);
  *loss = 0;
  const std::size_t count = std::min(most, lengths_.size());
  for (std::size_t i = 0; i < count; ++i) {
    double one = 0;
    if (Result done = pass(i, false, abort, &one); !done.ok()) return done;
    *loss += one / static_cast<double>(count);
  }
  return {};
}

void Distillation::round() {
  for (const auto& student : students_) student->trainer->round();
}

std::vector<std::vector<float>*> Distillation::state() {
  std::vector<std::vector<float>*> all;
  for (const auto& student : students_) {
    const auto own = student->trainer->state();
    all.insert(all.end(), own.begin(), own.end());
  }
  final_norm_state_->append_to(&all);
  return all;
}

void Distillation::restored(long steps_done) {
  t_ = steps_done;
  order_.clear();  // step() makes that of its epoch
  for (const auto& student : students_) student->trainer->restored();
}

}  // namespace outrider::quantize
