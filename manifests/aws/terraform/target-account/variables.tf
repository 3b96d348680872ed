variable "operator_role_arns" {
  description = "ARNs of the operators' roles, one for each cluster. They must exist."
  type        = list(string)
}

variable "external_id" {
  description = "What spec.externalId of the AWSAccount says."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_+=,.@:/-]{2,}$", var.external_id)) && length(var.external_id) <= 1224
    error_message = "An external id has 2 to 1224 letters, digits or characters of +=,.@:/_-."
  }
}

variable "role_path" {
  description = "Path of the roles whose trust is managed, such as /team-a/. The default is every role of the account."
  type        = string
  default     = "/"

  validation {
    condition     = can(regex("^/([!-~]+/)?$", var.role_path))
    error_message = "A path begins and ends with a slash."
  }
}

variable "source_role_path" {
  description = "Path of source roles of chains whose inline policies are managed. Empty: none, and no such permission."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^(/([!-~]+/)?)?$", var.source_role_path))
    error_message = "A path begins and ends with a slash."
  }
}

variable "eks_cluster_name" {
  description = "Name of the EKS cluster in this account whose Pod Identity associations are kept (spec.eks of the AWSAccount). Empty: none, and no such permission."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^([0-9A-Za-z][A-Za-z0-9_-]{0,99})?$", var.eks_cluster_name))
    error_message = "A cluster's name has at most 100 letters, digits or characters of _-, the first a letter or digit."
  }
}

variable "issuer" {
  description = "The cluster's token issuer, an https URL, to create its OIDC provider here. Empty: the operator creates it. With an issuer, set oidcProvider.manage to false in the AWSAccount."
  type        = string
  default     = ""
}

variable "audiences" {
  description = "Audiences of tokens, for the OIDC provider that is created here."
  type        = list(string)
  default     = ["sts.amazonaws.com"]
}
