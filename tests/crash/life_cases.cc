// Changes of images as a whole, and the images that they are made to.
#include "tests/crash/life_cases.h"

#include <utility>

#include "tests/support/guest_model.h"

namespace qcowkit::test {

namespace {

using Work = std::function<void(Layer&)>;

void write(Layer& layer, std::uint64_t guest_offset, std::uint64_t length, std::uint64_t fill) {
  layer.write({guest_offset}, recognisable_bytes(fill, guest_offset, length));
}

void write_compressed(Layer& layer, std::uint64_t guest_offset, std::uint64_t fill) {
  const auto plain = recognisable_bytes(fill, guest_offset, layer.cluster_size());
  layer.write_compressed({guest_offset}, layer.compress(plain, 0), plain);
}

/// Clusters of all kinds, in more than one L2 table where those are small, up to the disk's end.
void fill_disk(Layer& layer) {
  const std::uint64_t c = layer.cluster_size();
  const std::uint64_t size = layer.virtual_size();
  write(layer, 0, 6 * c, 1);
  write_compressed(layer, 7 * c, 2);
  write_compressed(layer, 8 * c, 3);
  write(layer, 10 * c, 3 * c, 4);
  layer.write_zeroes({10 * c}, c, false);
  layer.write_zeroes({11 * c}, c, true);
  layer.write_zeroes({14 * c}, c, true);
  write(layer, size - 3 * c, 3 * c, 5);
  layer.flush();
}

void take(Layer& layer, const std::string& name, std::uint64_t vm_state_bytes = 0) {
  Image::NewSnapshot snapshot;
  snapshot.name = name;
  snapshot.date_seconds = 1;
  snapshot.vm_state_size_bytes = vm_state_bytes;
  layer.create_snapshot(snapshot);
}

/// "one" and "two", and a disk that has gone on since.
void fill_with_snapshots(Layer& layer) {
  const std::uint64_t c = layer.cluster_size();
  fill_disk(layer);
  layer.write_vm_state(0, recognisable_bytes(6, 0, 2 * c));
  take(layer, "one", 2 * c);
  write(layer, 2 * c + 100, 2 * c, 7);
  write(layer, 20 * c, c, 8);
  take(layer, "two");
  write(layer, 4 * c, 100, 9);
  write_compressed(layer, 7 * c, 10);
  layer.discard({0}, c);
}

void fill_with_one_snapshot(Layer& layer) {
  fill_disk(layer);
  take(layer, "one");
  write(layer, 0, 2 * layer.cluster_size(), 7);
}

/// "one" is of a smaller disk.
void fill_with_smaller_snapshot(Layer& layer) {
  fill_with_one_snapshot(layer);
  layer.resize(layer.virtual_size() + 70 * layer.cluster_size(), {});
  write(layer, layer.virtual_size() - 100, 100, 11);
}

Work resize_by(std::int64_t clusters, std::int64_t bytes,
               Preallocation preallocation = Preallocation::off) {
  return [=](Layer& layer) {
    const auto cluster = static_cast<std::int64_t>(layer.cluster_size());
    const auto size = static_cast<std::int64_t>(layer.virtual_size());
    layer.resize(static_cast<std::uint64_t>(size + clusters * cluster + bytes),
                 {preallocation, true});
  };
}

Work amend(const AmendOptions& options) {
  return [=](Layer& layer) { layer.amend(options); };
}
Work amend_version(std::uint32_t version) {
  AmendOptions options;
  options.version = version;
  return amend(options);
}
Work amend_refcount_bits(std::uint32_t bits) {
  AmendOptions options;
  options.refcount_bits = bits;
  return amend(options);
}
Work amend_lazy_refcounts(bool lazy) {
  AmendOptions options;
  options.lazy_refcounts = lazy;
  return amend(options);
}
Work amend_backing_file(const std::string& name, const std::string& format) {
  AmendOptions options;
  options.backing_file = name;
  options.backing_format = format;
  return amend(options);
}
/// More than one thing, the last of which moves tables.
Work amend_lazy_refcounts_and_size() {
  return [](Layer& layer) {
    AmendOptions options;
    options.lazy_refcounts = true;
    options.size_bytes = layer.virtual_size() - 9 * layer.cluster_size();
    layer.amend(options);
  };
}

class Cases {
 public:
  std::vector<LifeCase> all() {
    for (const Shape& shape : shapes()) {
      add_snapshot_operations(shape);
      add_sizes(shape);
      add_options(shape);
    }
    return std::move(cases_);
  }

 private:
  static constexpr std::uint64_t kSmallDisk = 100 * 512 + 300;

  static std::vector<Shape> shapes() {
    const auto changed = [](Shape shape, void (*change)(Shape&)) {
      change(shape);
      return shape;
    };
    std::vector<Shape> all;
    all.push_back(changed(plain_shape("Clusters512", kSmallDisk, 512), [](Shape& shape) {
      shape.metadata.l2_cache_bytes = 512;
      shape.metadata.refcount_cache_bytes = 512;
    }));
    all.push_back(with_backing(plain_shape("Clusters4096", 200 * 1024, 4096)));
    all.push_back(changed(with_backing(plain_shape("Clusters4096Version2", 200 * 1024, 4096)),
                          [](Shape& shape) { shape.options.version = 2; }));
    all.push_back(changed(with_backing(plain_shape("ExtendedL2", 600 * 1024, 16384)),
                          [](Shape& shape) { shape.options.extended_l2 = true; }));
    all.push_back(changed(plain_shape("Clusters512Lazy", kSmallDisk, 512),
                          [](Shape& shape) { shape.options.lazy_refcounts = true; }));
    return all;
  }

  void add(const Shape& shape, const std::string& name, Work prepare, Work operation) {
    cases_.push_back({name + "_" + shape.name, shape, std::move(prepare), std::move(operation)});
  }

  void add_snapshot_operations(const Shape& shape) {
    const auto add_here = [&](const std::string& name, Work prepare, Work operation) {
      add(shape, name, std::move(prepare), std::move(operation));
    };
    add_here("FirstSnapshot", fill_disk, [](Layer& layer) { take(layer, "first"); });
    add_here(
        "SnapshotWithVmState",
        [](Layer& layer) {
          fill_with_snapshots(layer);
          layer.write_vm_state(0, recognisable_bytes(20, 0, 3000));
        },
        [](Layer& layer) { take(layer, "three", 3000); });
    add_here("ApplyFirst", fill_with_snapshots, [](Layer& layer) {
      layer.apply_snapshot({{}, "one"});
    });
    add_here("DeleteFirst", fill_with_snapshots, [](Layer& layer) {
      layer.delete_snapshot({{}, "one"});
    });
    add_here("DeleteOnly", fill_with_one_snapshot, [](Layer& layer) {
      layer.delete_snapshot({{}, "one"});
    });
    add_here("MakeEmpty", fill_with_snapshots, [](Layer& layer) { layer.make_empty(); });
    add_here("MakeEmptyWithoutSnapshots", fill_disk, [](Layer& layer) { layer.make_empty(); });
    if (shape.options.version == 2) return;
    add_here("ApplySmaller", fill_with_smaller_snapshot, [](Layer& layer) {
      layer.apply_snapshot({{}, "one"});
    });
  }

  void add_sizes(const Shape& shape) {
    // Version 2 refuses to change the size of images that have snapshots.
    const Work fill = shape.options.version == 2 ? Work(fill_disk) : Work(fill_with_snapshots);
    add(shape, "GrowInLastCluster", fill, resize_by(0, 100));
    add(shape, "GrowPreallocated", fill, resize_by(20, 0, Preallocation::falloc));
    add(shape, "GrowFar", fill, resize_by(700, 0));
    add(shape, "ShrinkALittle", fill, resize_by(-2, -100));
    add(shape, "ShrinkALot", fill, resize_by(shape.options.extended_l2 ? -30 : -40, 0));
    add(shape, "ShrinkToNothing", fill, [](Layer& layer) {
      layer.resize(0, {Preallocation::off, true});
    });
  }

  void add_options(const Shape& shape) {
    const std::string long_name(400, 'n');
    if (shape.cluster_size() > 512) {
      add(shape, "LongBackingName", fill_disk, amend_backing_file(long_name, "raw"));
      cases_.back().tidies_up = true;
      add(
          shape, "ShortBackingName",
          [=](Layer& layer) {
            fill_disk(layer);
            amend_backing_file(long_name, "raw")(layer);
          },
          amend_backing_file("b", "qcow2"));
      cases_.back().tidies_up = true;
    }
    if (shape.has_backing()) {
      add(shape, "OtherBackingName", fill_disk, amend_backing_file("gnikcab", "raw"));
      cases_.back().tidies_up = true;
    }
    if (shape.options.version == 2) {
      add(shape, "VersionUp", fill_with_snapshots, amend_version(3));
      return;
    }
    // Version 2 knows no extended L2 entries.
    if (!shape.options.extended_l2) {
      add(shape, "VersionDown", fill_with_snapshots, amend_version(2));
    }
    add(shape, "RefcountBits64", fill_with_snapshots, amend_refcount_bits(64));
    add(shape, "RefcountBits8", fill_with_snapshots, amend_refcount_bits(8));
    const bool lazy = shape.options.lazy_refcounts;
    add(shape, lazy ? "LazyOff" : "LazyOn", fill_with_snapshots, amend_lazy_refcounts(!lazy));
    add(shape, "LazyOnAndSize", fill_disk, amend_lazy_refcounts_and_size());
  }

  std::vector<LifeCase> cases_;
};

}  // namespace

std::vector<LifeCase> life_cases() { return Cases().all(); }

ImageFiles prepared_files(const LifeCase& c) {
  ImageFiles files = create_image_files(c.shape);
  OpenedImage image(c.shape, files, OpenedImage::Mode::read_write);
  c.prepare(image.layer());
  image.layer().close();
  return files;
}

}  // namespace qcowkit::test
