// Changing options of an existing image.
#include "formats/qcow2/qcow2_layer.h"

namespace qcowkit::qcow2 {

void Qcow2Layer::amend(const AmendOptions&) {
  throw Error(Errc::unsupported, "amending is not there yet");
}

}  // namespace qcowkit::qcow2
