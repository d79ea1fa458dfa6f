// SPDX-License-Identifier: Apache-2.0
// The module that Python loads: one class, made by flexlink/torch.
#include <pybind11/chrono.h>
#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>

#include "backend.h"

namespace {

using flexlink::pytorch::Backend;
using flexlink::pytorch::GroupOptions;

c10::intrusive_ptr<Backend> make(const std::string& library, const std::string& gpu,
                                 const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                                 std::chrono::milliseconds timeout, const std::string& name,
                                 const std::vector<int64_t>& ranks) {
  flexlink::pytorch::openLibrary(library);
  flexlink::pytorch::setGpuType(gpu);
  py::gil_scoped_release others;
  return Backend::create({store, rank, size, timeout, name, ranks, ""});
}

}  // namespace

PYBIND11_MODULE(flexlink_c10d, module) {
  py::module::import("torch.distributed");
  py::class_<GroupOptions, c10::intrusive_ptr<GroupOptions>, c10d::Backend::Options>(
      module, "FlexlinkOptions")
      .def("__deepcopy__", [](const GroupOptions& self, const py::dict&) {
        return c10::make_intrusive<GroupOptions>(self);
      });
  py::class_<Backend, c10::intrusive_ptr<Backend>, c10d::Backend>(module, "FlexlinkBackend")
      .def(py::init(&make), py::arg("library"), py::arg("gpu"), py::arg("store"), py::arg("rank"),
           py::arg("size"), py::arg("timeout"), py::arg("name"), py::arg("ranks"))
      .def_property_readonly("options", &Backend::getBackendOptions);
  module.def(
      "flight_record",
      [](bool frames, bool onlyActive) {
        std::string dump;
        {
          py::gil_scoped_release others;
          dump = flexlink::pytorch::FlightRecord::instance().dump(frames, onlyActive);
        }
        return py::bytes(dump);
      },
      py::arg("frames"), py::arg("only_active"));
}
