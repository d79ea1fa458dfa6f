// SPDX-License-Identifier: Apache-2.0
// Reads tests/data/nic_cases.txt, which C++ and Python share, into what nic_pairs.h takes. No check
// here.
#pragma once

#include <net/if.h>

#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "base/nic_pairs.h"

namespace flexlink::test {

struct NicExpectation {
  std::string nic;   // of a pair: ours
  std::string peer;  // of a pair
  std::string word;  // yes, peer, no; used, not
  std::string why;
};

struct NicCase {
  std::string name;
  std::map<std::string, std::string> environment;
  std::vector<Interface> interfaces;
  std::vector<NicFacts> facts;
  std::vector<NicExpectation> places;  // of NICs with an address
  std::vector<std::string> offered;
  NicSide peer;
  bool oneLo = false;
  std::vector<NicExpectation> pairs;
};

inline std::pair<SocketAddress, int> withPrefix(const std::string& text) {
  const size_t slash = text.find('/');
  const std::string host = text.substr(0, slash);
  const bool v6 = host.find(':') != std::string::npos;
  const Result<SocketAddress> address = parse(v6 ? "[" + host + "]:0" : host + ":0");
  return {address.value(), std::stoi(text.substr(slash + 1))};
}

// kind=, arp=, master=, lower=, parent= and flags; names become numbers when all are read.
struct NicWords {
  NicFacts facts;
  std::string master;
  std::string lower;
  std::vector<std::string> addresses;
};

inline NicWords nicWords(std::istringstream& line, unsigned index) {
  NicWords nic;
  line >> nic.facts.name;
  nic.facts.index = index;
  nic.facts.flags = IFF_UP | IFF_RUNNING | (nic.facts.name == "lo" ? IFF_LOOPBACK : 0);
  for (std::string word; line >> word && word != "=>";) {
    const std::string key = word.substr(0, word.find('='));
    const std::string value = word.substr(std::min(word.size(), key.size() + 1));
    if (key == "kind") nic.facts.kind = value;
    if (key == "arp") nic.facts.arpType = std::stoi(value);
    if (key == "parent") nic.facts.parent = value;
    if (key == "master") nic.master = value;
    if (key == "lower") nic.lower = value;
    if (key == "elsewhere") nic.facts.lowerElsewhere = true;
    if (key == "down") nic.facts.flags = 0;
    if (key == "nocarrier") nic.facts.flags = IFF_UP;
    if (key == "ptp") nic.facts.flags |= IFF_POINTOPOINT;
    if (key.find('/') != std::string::npos) nic.addresses.push_back(word);
  }
  return nic;
}

inline std::string rest(std::istringstream& line) {
  std::string text;
  std::getline(line >> std::ws, text);
  return text;
}

class NicCaseReader {
 public:
  std::vector<NicCase> read() {
    std::ifstream file(FLEXLINK_NIC_CASES);
    for (std::string text; std::getline(file, text);) {
      std::istringstream line(text);
      std::string verb;
      if (line >> verb && verb[0] != '#') take(verb, line);
    }
    finish();
    return std::move(cases_);
  }

 private:
  void take(const std::string& verb, std::istringstream& line) {
    if (verb == "case") {
      finish();
      cases_.push_back({rest(line)});
    } else if (verb == "env") {
      const std::string text = rest(line);
      cases_.back().environment[text.substr(0, text.find('='))] = text.substr(text.find('=') + 1);
    } else if (verb == "nic") {
      takeNic(line);
    } else if (verb == "peer") {
      takePeer(line);
    } else if (verb == "offered") {
      for (std::string nic; line >> nic;) cases_.back().offered.push_back(nic);
    } else if (verb == "pair") {
      NicExpectation pair;
      std::string arrow;
      line >> pair.nic >> pair.peer >> arrow >> pair.word;
      pair.why = rest(line);
      cases_.back().pairs.push_back(pair);
    } else {
      cases_.back().oneLo |= verb == "one-lo";
      cases_.back().peer.named |= verb == "peer-named";
    }
  }

  void takeNic(std::istringstream& line) {
    NicCase& now = cases_.back();
    NicWords nic = nicWords(line, static_cast<unsigned>(words_.size()) + 1);
    NicExpectation expected{nic.facts.name, "", "", ""};
    line >> expected.word;
    expected.why = rest(line);
    for (const std::string& text : nic.addresses) {
      Interface one;
      one.name = nic.facts.name;
      std::tie(one.address, one.prefixLength) = withPrefix(text);
      one.index = nic.facts.index;
      one.up = (nic.facts.flags & (IFF_UP | IFF_RUNNING)) == (IFF_UP | IFF_RUNNING);
      one.loopback = (nic.facts.flags & IFF_LOOPBACK) != 0;
      one.pointToPoint = (nic.facts.flags & IFF_POINTOPOINT) != 0;
      now.interfaces.push_back(one);
    }
    if (!nic.addresses.empty()) now.places.push_back(expected);
    words_.push_back(std::move(nic));
  }

  void takePeer(std::istringstream& line) {
    const NicWords nic = nicWords(line, 1);
    NicSide& peer = cases_.back().peer;
    for (const std::string& text : nic.addresses) {
      const auto [address, prefix] = withPrefix(text);
      peer.addresses.push_back({nic.facts.name, address, prefix});
    }
    peer.bootstrap = peer.addresses[0];
  }

  unsigned indexOf(const std::string& name) const {
    for (const NicWords& nic : words_) {
      if (nic.facts.name == name) return nic.facts.index;
    }
    return 0;
  }

  void finish() {
    for (const NicWords& nic : words_) {
      cases_.back().facts.push_back(nic.facts);
      cases_.back().facts.back().master = indexOf(nic.master);
      cases_.back().facts.back().lower = indexOf(nic.lower);
    }
    words_.clear();
  }

  std::vector<NicCase> cases_;
  std::vector<NicWords> words_;  // of the last case
};

}  // namespace flexlink::test
