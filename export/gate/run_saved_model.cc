// Runs a SavedModel by TensorFlow's C API alone, as a server does that has no Python.
//
//   run_saved_model ops OUT [--library SO]...
//       The registered ops, as a serialized tensorflow.OpList.
//   run_saved_model run FOLDER CALLS RESULTS [--library SO]... [--repeat N] [--intra N] [--inter N]
//       Makes the calls of a file in their order, in one session, and writes the results. With --repeat each call is
//       made N times after ten to warm up; its result is then `microseconds`, N float64, and a line is printed:
//       signature, p50 and p99 in microseconds. --intra and --inter are the threads within and between ops; 0 leaves
//       them to TensorFlow.
//
// call_file.py describes both files. A call that fails has the code and message of its TF_Status as its result; what
// fails before the first call is printed, and the program ends with 1.

#include <tensorflow/c/c_api.h>
#include <tensorflow/c/tf_tstring.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr int kWarmUpCalls = 10;

const char* CodeName(TF_Code code) {
  static const char* const kNames[] = {"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED",
                                       "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
                                       "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL",
                                       "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"};
  return code < std::size(kNames) ? kNames[code] : "?";
}

struct Status {
  std::unique_ptr<TF_Status, decltype(&TF_DeleteStatus)> status{TF_NewStatus(), TF_DeleteStatus};

  operator TF_Status*() { return status.get(); }

  // Throws what TensorFlow says went wrong, as "CODE: message".
  void Check() const {
    const TF_Code code = TF_GetCode(status.get());
    if (code != TF_OK) throw std::runtime_error(std::string(CodeName(code)) + ": " + TF_Message(status.get()));
  }
};

using Tensor = std::unique_ptr<TF_Tensor, decltype(&TF_DeleteTensor)>;

struct Endpoint {
  std::string name;  // in the signature
  TF_Output output;  // in the graph
};

struct Call {
  std::string signature;
  std::vector<Endpoint> inputs;
  std::vector<TF_Tensor*> values;  // of the inputs
  std::vector<Endpoint> outputs;
};

int64_t Elements(const std::vector<int64_t>& dims) {
  int64_t elements = 1;
  for (int64_t dim : dims) elements *= dim;
  return elements;
}

class Reader {
 public:
  explicit Reader(const std::string& path) : file_(path, std::ios::binary) { Raw(nullptr, 0); }

  template <typename T>
  T Number() {
    T number;
    Raw(&number, sizeof(T));
    return number;
  }

  std::string Text() {
    std::string text(Number<uint64_t>(), '\0');
    Raw(text.data(), text.size());
    return text;
  }

  void Raw(void* into, size_t bytes) {
    if (!file_.read(static_cast<char*>(into), bytes)) throw std::runtime_error("The file of calls ends too soon.");
  }

  // Never freed: a variable or table that the graph assigned it to may share its memory for as long as the session is.
  TF_Tensor* ReadTensor() {
    const auto dtype = static_cast<TF_DataType>(Number<uint32_t>());
    std::vector<int64_t> dims(Number<uint32_t>());
    for (int64_t& dim : dims) dim = Number<int64_t>();
    const size_t width = dtype == TF_STRING ? sizeof(TF_TString) : TF_DataTypeSize(dtype);
    const int64_t elements = Elements(dims);
    TF_Tensor* tensor = TF_AllocateTensor(dtype, dims.data(), dims.size(), elements * width);
    if (dtype != TF_STRING) {
      Raw(TF_TensorData(tensor), elements * width);
      return tensor;
    }
    auto* strings = static_cast<TF_TString*>(TF_TensorData(tensor));
    for (int64_t i = 0; i < elements; ++i) {
      const std::string text = Text();
      TF_StringInit(&strings[i]);
      TF_StringCopy(&strings[i], text.data(), text.size());
    }
    return tensor;
  }

 private:
  std::ifstream file_;
};

class Writer {
 public:
  explicit Writer(const std::string& path) : file_(path, std::ios::binary) {}

  template <typename T>
  void Number(T number) {
    Raw(&number, sizeof(T));
  }

  void Text(const char* text, size_t bytes) {
    Number<uint64_t>(bytes);
    Raw(text, bytes);
  }

  void Text(const std::string& text) { Text(text.data(), text.size()); }

  void Raw(const void* from, size_t bytes) {
    if (!file_.write(static_cast<const char*>(from), bytes)) throw std::runtime_error("The results cannot be written.");
  }

  void WriteTensor(const TF_Tensor* tensor) {
    Number<uint32_t>(TF_TensorType(tensor));
    Number<uint32_t>(TF_NumDims(tensor));
    for (int i = 0; i < TF_NumDims(tensor); ++i) Number<int64_t>(TF_Dim(tensor, i));
    if (TF_TensorType(tensor) != TF_STRING) return Raw(TF_TensorData(tensor), TF_TensorByteSize(tensor));
    const auto* strings = static_cast<const TF_TString*>(TF_TensorData(tensor));
    for (int64_t i = 0; i < TF_TensorElementCount(tensor); ++i) {
      Text(TF_StringGetDataPointer(&strings[i]), TF_StringGetSize(&strings[i]));
    }
  }

  void Close() {
    file_.close();
    if (!file_) throw std::runtime_error("The results cannot be written.");
  }

 private:
  std::ofstream file_;
};

class Model {
 public:
  Model(const std::string& folder, int intra, int inter) {
    std::unique_ptr<TF_SessionOptions, decltype(&TF_DeleteSessionOptions)> options{TF_NewSessionOptions(),
                                                                                   TF_DeleteSessionOptions};
    Status status;
    // A tensorflow.ConfigProto: the fields 2 and 5, varints of one byte.
    const unsigned char config[] = {0x10, static_cast<unsigned char>(intra), 0x28, static_cast<unsigned char>(inter)};
    TF_SetConfig(options.get(), config, sizeof(config), status);
    status.Check();
    const char* const tags[] = {"serve"};
    session_ = TF_LoadSessionFromSavedModel(options.get(), nullptr, folder.c_str(), tags, 1, graph_, nullptr, status);
    status.Check();
  }

  // Where `tensor`, as "operation:0", is in the graph.
  TF_Output Find(const std::string& tensor) const {
    const size_t colon = tensor.rfind(':');
    TF_Operation* operation = TF_GraphOperationByName(graph_, tensor.substr(0, colon).c_str());
    const int index = colon == std::string::npos ? 0 : std::stoi(tensor.substr(colon + 1));
    if (operation == nullptr || index >= TF_OperationNumOutputs(operation)) {
      throw std::runtime_error("NOT_FOUND: the graph has no tensor " + tensor);
    }
    return {operation, index};
  }

  std::vector<Tensor> Run(const Call& call) const {
    std::vector<TF_Output> feeds, fetches;
    for (const Endpoint& input : call.inputs) feeds.push_back(input.output);
    for (const Endpoint& output : call.outputs) fetches.push_back(output.output);
    std::vector<TF_Tensor*> fetched(fetches.size(), nullptr);
    Status status;
    TF_SessionRun(session_, nullptr, feeds.data(), call.values.data(), feeds.size(), fetches.data(), fetched.data(),
                  fetches.size(), nullptr, 0, nullptr, status);
    std::vector<Tensor> tensors;
    for (TF_Tensor* tensor : fetched) tensors.emplace_back(tensor, TF_DeleteTensor);
    status.Check();
    return tensors;
  }

 private:
  TF_Graph* graph_ = TF_NewGraph();  // graph and session live as long as the process
  TF_Session* session_ = nullptr;
};

Endpoint ReadEndpoint(Reader& reader, const Model& model) {
  const std::string name = reader.Text();
  return {name, model.Find(reader.Text())};
}

Call ReadCall(Reader& reader, const Model& model) {
  Call call{reader.Text(), {}, {}, {}};
  for (uint32_t left = reader.Number<uint32_t>(); left > 0; --left) {
    call.inputs.push_back(ReadEndpoint(reader, model));
    call.values.push_back(reader.ReadTensor());
  }
  for (uint32_t left = reader.Number<uint32_t>(); left > 0; --left) call.outputs.push_back(ReadEndpoint(reader, model));
  return call;
}

std::vector<double> Measure(const Model& model, const Call& call, int repeat) {
  for (int i = 0; i < kWarmUpCalls; ++i) model.Run(call);
  std::vector<double> microseconds;
  for (int i = 0; i < repeat; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const std::vector<Tensor> answer = model.Run(call);
    microseconds.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count());
  }
  return microseconds;
}

// The value that a share of `values` does not exceed.
double Quantile(std::vector<double> values, double share) {
  const auto rank = static_cast<size_t>(std::ceil(share * values.size())) - 1;
  std::nth_element(values.begin(), values.begin() + rank, values.end());
  return values[rank];
}

void WriteMeasured(Writer& writer, const Call& call, const std::vector<double>& microseconds) {
  std::printf("%s p50 %.1f us, p99 %.1f us\n", call.signature.c_str(), Quantile(microseconds, 0.5),
              Quantile(microseconds, 0.99));
  writer.Text("");  // no error
  writer.Number<uint32_t>(1);
  writer.Text("microseconds");
  writer.Number<uint32_t>(TF_DOUBLE);
  writer.Number<uint32_t>(1);
  writer.Number<int64_t>(microseconds.size());
  writer.Raw(microseconds.data(), microseconds.size() * sizeof(double));
}

void WriteAnswer(Writer& writer, const Call& call, const std::vector<Tensor>& answer) {
  writer.Text("");  // no error
  writer.Number<uint32_t>(answer.size());
  for (size_t i = 0; i < answer.size(); ++i) {
    writer.Text(call.outputs[i].name);
    writer.WriteTensor(answer[i].get());
  }
}

void WriteError(Writer& writer, const std::string& message) {
  writer.Text(message);
  writer.Number<uint32_t>(0);
}

struct Options {
  std::vector<std::string> operands;
  int repeat = 0, intra = 0, inter = 0;
};

// Also loads the libraries, which register their ops.
Options Parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.rfind("--", 0) != 0) {
      options.operands.push_back(argument);
      continue;
    }
    if (++i == argc) throw std::runtime_error("`" + argument + "` must have a value.");
    if (argument == "--library") {
      Status status;
      TF_LoadLibrary(argv[i], status);
      status.Check();
    } else if (argument == "--repeat") {
      options.repeat = std::stoi(argv[i]);
    } else if (argument == "--intra" || argument == "--inter") {
      const int threads = std::stoi(argv[i]);
      if (threads < 0 || threads > 127) {
        throw std::runtime_error("`" + argument + "` must be 0 to 127. Received: " + argv[i] + ".");
      }
      (argument == "--intra" ? options.intra : options.inter) = threads;
    } else {
      throw std::runtime_error("There is no option " + argument);
    }
  }
  return options;
}

void WriteOps(const std::string& path) {
  std::unique_ptr<TF_Buffer, decltype(&TF_DeleteBuffer)> ops{TF_GetAllOpList(), TF_DeleteBuffer};
  Writer writer(path);
  writer.Raw(ops->data, ops->length);
  writer.Close();
}

void RunCalls(const Options& options) {
  const Model model(options.operands[1], options.intra, options.inter);
  Reader reader(options.operands[2]);
  Writer writer(options.operands[3]);
  char magic[8];
  reader.Raw(magic, sizeof(magic));
  if (std::memcmp(magic, "MIMCALLS", sizeof(magic)) != 0) throw std::runtime_error("This is no file of calls.");
  const auto calls = reader.Number<uint32_t>();
  writer.Raw("MIMRESLT", 8);
  writer.Number<uint32_t>(calls);
  for (uint32_t i = 0; i < calls; ++i) {
    const Call call = ReadCall(reader, model);
    try {
      if (options.repeat > 0) {
        WriteMeasured(writer, call, Measure(model, call, options.repeat));
      } else {
        WriteAnswer(writer, call, model.Run(call));
      }
    } catch (const std::runtime_error& error) {
      WriteError(writer, error.what());
    }
  }
  writer.Close();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Options options = Parse(argc, argv);
    const std::string command = options.operands.empty() ? "" : options.operands[0];
    if (command == "ops" && options.operands.size() == 2) {
      WriteOps(options.operands[1]);
    } else if (command == "run" && options.operands.size() == 4) {
      RunCalls(options);
    } else {
      throw std::runtime_error("usage: run_saved_model ops OUT | run FOLDER CALLS RESULTS, and options");
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
