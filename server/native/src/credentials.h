// TLS credentials from files, which are read again as they change.
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>

namespace elman {

// Paths of PEM files.
struct CertificateFiles {
  std::string private_key;
  std::string certificate_chain;
  std::string client_ca;  // empty: no certificate is asked of callers; else one is required that it has signed
  unsigned refresh_seconds = 10;
};

// Where the files are not good, callers are refused until they are.
std::shared_ptr<grpc::ServerCredentials> CredentialsOf(const CertificateFiles& files);

}  // namespace elman
