variable "role_name" {
  description = "Name of the role; one for each cluster."
  type        = string
  default     = "trustbind-operator"
}

variable "cluster_name" {
  description = "Name of the EKS cluster. Needed with EKS Pod Identity."
  type        = string
  default     = ""
}

variable "issuer" {
  description = "Host and path of the cluster's token issuer, without https://. Empty: EKS Pod Identity."
  type        = string
  default     = ""

  validation {
    condition     = !startswith(var.issuer, "https://")
    error_message = "Leave https:// out."
  }
}

variable "namespace" {
  description = "Namespace of the operator."
  type        = string
  default     = "trustbind-system"
}

variable "service_account" {
  description = "Service account of the operator."
  type        = string
  default     = "trustbind-operator"
}
