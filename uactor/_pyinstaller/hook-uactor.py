"""Take along what reflection serves: a file of data, which no import names."""

from PyInstaller.utils.hooks import collect_data_files

datas = collect_data_files('uactor', includes=['**/*.binpb'])
