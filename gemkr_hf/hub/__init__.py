"""Hugging Face Hub: upload, exclusion rules, download, cards; checkpoints and adapters."""

from typing import TYPE_CHECKING

from gemkr_hf.utils.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from gemkr_hf.hub.checkpoint_loading import load_checkpoint
    from gemkr_hf.hub.checkpoint_saving import save_adapter, save_model
    from gemkr_hf.hub.checkpoint_upload import plan_adapter, plan_model, push_adapter, push_model
    from gemkr_hf.hub.download import HubError, download_files, download_folder
    from gemkr_hf.hub.exclusion_rules import Refused
    from gemkr_hf.hub.model_card import CardSettings
    from gemkr_hf.hub.training_record import (
        FACTS_FILE,
        Result,
        read_facts,
        record_results,
        write_facts,
    )
    from gemkr_hf.hub.upload_plan import PlannedFile, UploadPlan
    from gemkr_hf.hub.uploader import Uploaded, upload

__getattr__ = lazy_exports(
    __name__,
    {
        "CardSettings": "model_card",
        "FACTS_FILE": "training_record",
        "HubError": "download",
        "PlannedFile": "upload_plan",
        "Refused": "exclusion_rules",
        "Result": "training_record",
        "UploadPlan": "upload_plan",
        "Uploaded": "uploader",
        "download_files": "download",
        "download_folder": "download",
        "load_checkpoint": "checkpoint_loading",
        "plan_adapter": "checkpoint_upload",
        "plan_model": "checkpoint_upload",
        "push_adapter": "checkpoint_upload",
        "push_model": "checkpoint_upload",
        "read_facts": "training_record",
        "record_results": "training_record",
        "save_adapter": "checkpoint_saving",
        "save_model": "checkpoint_saving",
        "upload": "uploader",
        "write_facts": "training_record",
    },
)

__all__ = [
    "FACTS_FILE",
    "CardSettings",
    "HubError",
    "PlannedFile",
    "Refused",
    "Result",
    "UploadPlan",
    "Uploaded",
    "download_files",
    "download_folder",
    "load_checkpoint",
    "plan_adapter",
    "plan_model",
    "push_adapter",
    "push_model",
    "read_facts",
    "record_results",
    "save_adapter",
    "save_model",
    "upload",
    "write_facts",
]
