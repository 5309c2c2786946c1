"""The Hugging Face Hub: what is uploaded, what never is, and how it is had again."""

from gemkr_hf.hub.download import HubError, download_files, download_folder
from gemkr_hf.hub.plan import PlannedFile, UploadPlan
from gemkr_hf.hub.refusals import Refused
from gemkr_hf.hub.upload import Uploaded, upload

__all__ = [
    "HubError",
    "PlannedFile",
    "Refused",
    "UploadPlan",
    "Uploaded",
    "download_files",
    "download_folder",
    "upload",
]
