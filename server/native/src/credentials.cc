#include "credentials.h"

#include <grpcpp/security/tls_credentials_options.h>

namespace elman {

std::shared_ptr<grpc::ServerCredentials> CredentialsOf(const CertificateFiles& files) {
  namespace tls = grpc::experimental;
  const auto provider = std::make_shared<tls::FileWatcherCertificateProvider>(
      files.private_key, files.certificate_chain, files.client_ca, files.refresh_seconds);
  tls::TlsServerCredentialsOptions options(provider);
  options.watch_identity_key_cert_pairs();
  if (!files.client_ca.empty()) {
    options.watch_root_certs();
    options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return tls::TlsServerCredentials(options);
}

}  // namespace elman
