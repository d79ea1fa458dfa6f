// SPDX-License-Identifier: Apache-2.0
// What of this process says where its libnccl is: its memory map, the dynamic sections of what is
// loaded, its environment. Nothing is opened for good, nothing is loaded.
#include <dirent.h>
#include <elf.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <string>

#include "base/small_file.h"
#include "drivers/vendor_search.h"

namespace flexlink {
namespace {

std::string environment(const char* name) {
  const char* value = getenv(name);
  return value == nullptr ? "" : value;
}

std::vector<std::string> splitAt(const std::string& text, char separator) {
  std::vector<std::string> parts;
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(text.find(separator, at), text.size());
    if (end > at) parts.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

std::vector<std::string> mappedFiles() {
  std::vector<std::string> files;
  for (const std::string& line : splitAt(wholeFile("/proc/self/maps"), '\n')) {
    size_t at = line.find(" /");
    if (at == std::string::npos) continue;
    std::string file = line.substr(at + 1);
    if (files.empty() || files.back() != file) files.push_back(std::move(file));
  }
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  return files;
}

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size())) {
    text.replace(at, what.size(), by);
  }
  return text;
}

std::vector<std::string> foldersOf(const char* text, const std::string& origin) {
  std::vector<std::string> folders;
  for (const std::string& each : splitAt(text, ':')) {
    folders.push_back(replaced(replaced(each, "${ORIGIN}", origin), "$ORIGIN", origin));
  }
  return folders;
}

// The file of a loaded object; the program itself has no name there.
std::string fileOf(const dl_phdr_info& object) {
  std::string file = object.dlpi_name;
  if (file.empty()) {
    char* program = realpath("/proc/self/exe", nullptr);
    file = program == nullptr ? "" : program;
    free(program);
  }
  return file;
}

struct Dynamic {
  const char* strings = nullptr;
  std::vector<size_t> needed;
  size_t rpath = 0;  // 0: none, for a string table begins with an empty one
  size_t runpath = 0;
};

Dynamic readDynamic(const ElfW(Dyn) * entry, ElfW(Addr) base) {
  Dynamic found;
  for (; entry->d_tag != DT_NULL; ++entry) {
    if (entry->d_tag == DT_NEEDED) found.needed.push_back(entry->d_un.d_val);
    if (entry->d_tag == DT_RPATH) found.rpath = entry->d_un.d_val;
    if (entry->d_tag == DT_RUNPATH) found.runpath = entry->d_un.d_val;
    if (entry->d_tag != DT_STRTAB) continue;
    // glibc has relocated it, but for what the kernel maps (the vDSO).
    ElfW(Addr) at = entry->d_un.d_ptr;
    found.strings = reinterpret_cast<const char*>(at < base ? at + base : at);
  }
  return found;
}

int addClient(dl_phdr_info* object, size_t, void* clients) {
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    if (object->dlpi_phdr[i].p_type != PT_DYNAMIC) continue;
    auto* entry =
        reinterpret_cast<const ElfW(Dyn)*>(object->dlpi_addr + object->dlpi_phdr[i].p_vaddr);
    Dynamic dynamic = readDynamic(entry, object->dlpi_addr);
    if (dynamic.strings == nullptr) return 0;
    auto isNccl = [&](size_t name) { return !strcmp(dynamic.strings + name, "libnccl.so.2"); };
    if (std::none_of(dynamic.needed.begin(), dynamic.needed.end(), isNccl)) return 0;
    std::string file = fileOf(*object);
    std::string origin = file.substr(0, std::min(file.rfind('/'), file.size()));
    NcclClient client;
    // As in the loader, an RPATH counts only where there is no RUNPATH.
    if (dynamic.runpath != 0) {
      client.runpath = foldersOf(dynamic.strings + dynamic.runpath, origin);
    } else if (dynamic.rpath != 0) {
      client.rpath = foldersOf(dynamic.strings + dynamic.rpath, origin);
    }
    static_cast<std::vector<NcclClient>*>(clients)->push_back(std::move(client));
  }
  return 0;
}

}  // namespace

SearchFacts searchFacts(const std::string& named) {
  SearchFacts facts;
  facts.named = named;
  if (!named.empty()) return facts;
  facts.mapped = mappedFiles();
  dl_iterate_phdr(addClient, &facts.clients);
  facts.libraryPath = splitAt(environment("LD_LIBRARY_PATH"), ':');
  facts.program = wholeFile("/proc/self/cmdline").c_str();  // up to the first zero
  facts.virtualEnv = environment("VIRTUAL_ENV");
  facts.condaPrefix = environment("CONDA_PREFIX");
  facts.systemPaths = pathsInLoaderCache(wholeFile("/etc/ld.so.cache"));
  facts.ncclHome = environment("NCCL_HOME");
  return facts;
}

std::vector<std::string> listFolder(const std::string& folder) {
  std::vector<std::string> entries;
  DIR* open = opendir(folder.c_str());
  if (open == nullptr) return entries;
  while (const dirent* entry = readdir(open)) entries.emplace_back(entry->d_name);
  closedir(open);
  std::sort(entries.begin(), entries.end());
  return entries;
}

}  // namespace flexlink
