#include "launcher/agent/docker_answer.h"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include "oci-mount/store/json_document.h"

namespace layerboot::launcher {

using boost::system::error_code;
namespace http = boost::beast::http;

namespace {

constexpr int kMaxDepth = 16;

/// Of one entry of a container's "Ports"; 0 where it leads nowhere from the guest's 127.0.0.1.
std::uint16_t reachable_port(const store::Json& entry) {
  const std::string address = store::text_member(entry, "IP");
  const store::Json* const port = store::find_member(entry, "PublicPort");
  if (store::text_member(entry, "Type") != "tcp" || port == nullptr || !port->is_number_unsigned()) return 0;
  if (address != "0.0.0.0" && address != "127.0.0.1") return 0;
  const auto number = port->get<std::uint64_t>();
  return number > UINT16_MAX ? std::uint16_t{0} : static_cast<std::uint16_t>(number);
}

}  // namespace

std::string docker_request(std::string_view path) {
  return str_cat("GET ", path, " HTTP/1.0\r\nHost: docker\r\n\r\n");
}

Result<std::string> docker_body(std::string_view answer) {
  http::response_parser<http::string_body> parser;
  parser.body_limit(kMaxDockerAnswerBytes);
  error_code error;
  while (!answer.empty() && !error && !parser.is_done()) {
    const std::size_t taken = parser.put(boost::asio::buffer(answer), error);
    answer.remove_prefix(taken);
    if (parser.is_header_done() && !parser.eager()) {
      // Beast would make room for it before it looks at the limit.
      if (parser.content_length().value_or(0) > kMaxDockerAnswerBytes)
        return fail(EBADMSG, "the VM's Docker engine says too much");
      parser.eager(true);
    } else if (taken == 0) {
      break;
    }
  }
  if (!parser.got_some()) return fail(EBADMSG, "the VM's Docker engine does not answer");
  if (error == http::error::need_more) error = {};
  if (!error && !parser.is_done()) parser.put_eof(error);
  if (error) return fail(EBADMSG, "the VM's Docker engine does not speak HTTP: ", error.message());
  if (parser.get().result() != http::status::ok)
    return fail(EBADMSG, "the VM's Docker engine answers with ", parser.get().result_int());
  return std::move(parser.get().body());
}

Result<std::set<std::uint16_t>> published_ports(std::string_view answer) {
  LB_ASSIGN(const std::string body, docker_body(answer));
  auto document =
      store::parse_json_list(body, kMaxDockerAnswerBytes, kMaxDepth, "the VM's list of containers");
  if (!document) return fail(EBADMSG, document.error().text);
  std::set<std::uint16_t> ports;
  for (const store::Json& container : *document) {
    const store::Json* const entries = store::find_member(container, "Ports");
    if (entries == nullptr || !entries->is_array()) continue;
    for (const store::Json& entry : *entries) ports.insert(reachable_port(entry));
  }
  ports.erase(0);
  return ports;
}

}  // namespace layerboot::launcher
